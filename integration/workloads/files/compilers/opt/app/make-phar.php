<?php $p = new Phar($argv[1]); $p->addFromString("main.php", '<?php require "phar://app.phar/part.php"; echo part($argv[1]), "\n";');
$p->addFromString("part.php", '<?php function part($n) { return "phar $n"; }'); $p->setStub("#!/usr/bin/env php\n<?php Phar::mapPhar('app.phar'); require 'phar://app.phar/main.php'; __HALT_COMPILER();");
