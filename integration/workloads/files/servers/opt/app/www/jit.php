<?php
echo opcache_get_status(false)['jit']['on'] ? 'on' : 'off', "\n";
