import gi
gi.require_version("GLib", "2.0")
from gi.repository import GLib, Gio
loop = GLib.MainLoop(); ticks = []
def tick():
    ticks.append(1)
    if len(ticks) == 20: loop.quit()
    return len(ticks) < 20
GLib.timeout_add(1, tick)
loop.run()
print("ticks", len(ticks))
