# Its shaders are compiled into memory.
export HOME=/tmp LIBGL_ALWAYS_SOFTWARE=1
mkdir -p /tmp/.X11-unix
Xvfb :7 -screen 0 320x240x24 -nolisten tcp >/dev/null 2>&1 &
export DISPLAY=:7
until_ready glxinfo
while more; do
    equal renderer 1 "$(glxinfo | grep -c 'renderer string: llvmpipe')"
    equal gears 124 "$(timeout 2 glxgears >/dev/null 2>&1; echo $?)"
done
