"""paho-mqtt: one client publishes, another hears of it; both have threads of their own."""

import queue
import sys

import paho.mqtt.client as mqtt
from parts import MB, blob, finish, same

port = int(sys.argv[1])
heard = queue.Queue()


def client(name):
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name)
    made.max_inflight_messages_set(100)  # else messages of different QoS overtake each other
    ready = queue.Queue()
    made.on_connect = lambda *_: ready.put("connected")
    made.on_subscribe = lambda *_: ready.put("subscribed")
    made.on_message = lambda _client, _data, message: heard.put(message.payload)
    made.connect("127.0.0.1", port)
    made.loop_start()
    ready.get(timeout=30)
    return made, ready


listener, ready = client("listener")
listener.subscribe("news", qos=1)
ready.get(timeout=30)
speaker, _ = client("speaker")
for number in range(50):
    speaker.publish("news", blob(100, number), qos=number % 2)
speaker.publish("news", blob(MB), qos=1).wait_for_publish(30)
for number in range(50):
    same(heard.get(timeout=30), blob(100, number))
same(heard.get(timeout=30), blob(MB))
finish(left=heard.qsize())
for each in (speaker, listener):
    each.disconnect()
    each.loop_stop()
