<?php
$n = (int) ($_GET['n'] ?? 0);
echo 'php ', $n * $n, "\n";
