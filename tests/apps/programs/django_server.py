"""The same service with Django, on its development server."""

import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import path
from parts import blob


def give(request, size):
    return HttpResponse(blob(size), content_type="application/octet-stream")


def echo(request):
    return HttpResponse(request.body, content_type="application/octet-stream")


urlpatterns = [path("blob/<int:size>", give), path("echo", echo)]

if __name__ == "__main__":
    settings.configure(
        DEBUG=True,
        ROOT_URLCONF="django_server",
        ALLOWED_HOSTS=["127.0.0.1"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        LOGGING_CONFIG=None,
    )
    django.setup()
    call_command("runserver", f"127.0.0.1:{sys.argv[1]}", use_reloader=False, skip_checks=True)
