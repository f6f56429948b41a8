//! Web servers and databases with the code that they run.

use super::workload::{Foreign, Held::AtOpen, Workload};

/// Servers, and what they run.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "redis-server",
        &["redis-server", "redis-tools"],
        "benchmarks, Lua, rewrites of its log by a fork",
        include_str!("../../workloads/scripts/redis-server.sh"),
    )
    .ci(),
    Workload::new(
        "memcached",
        &["memcached", "libcache-memcached-perl"],
        "2,000 values set and got, by Perl",
        include_str!("../../workloads/scripts/memcached.sh"),
    )
    .ci(),
    Workload::new(
        "haproxy",
        &["haproxy", "curl"],
        "balances, answers by Lua, is reloaded",
        include_str!("../../workloads/scripts/haproxy.sh"),
    )
    .ci(),
    Workload::new(
        "nginx",
        &["nginx-light", "curl"],
        "serves files, `.py` of the image and copied ones among them, proxies, is reloaded",
        include_str!("../../workloads/scripts/nginx.sh"),
    )
    .ci(),
    Workload::new(
        "apache2",
        &["apache2", "libapache2-mod-php"],
        "static files, CGI of sh and Perl, PHP; is reloaded",
        include_str!("../../workloads/scripts/apache2.sh"),
    ),
    Workload::new(
        "apache2-php-jit",
        &["apache2", "libapache2-mod-php"],
        "PHP's JIT, in processes that share its memory",
        include_str!("../../workloads/scripts/apache2-php-jit.sh"),
    ),
    Workload::new(
        "apache2-php-copied",
        &["apache2", "libapache2-mod-php"],
        "serves PHP that was copied to a volume at the start",
        include_str!("../../workloads/scripts/apache2-php-copied.sh"),
    )
    .foreign(&[Foreign::new("/srv/www/**", AtOpen, "the copies")]),
    Workload::new(
        "postgresql",
        &["postgresql"],
        "pgbench, queries compiled by LLVM, `COPY … FROM PROGRAM`",
        include_str!("../../workloads/scripts/postgresql.sh"),
    ),
    Workload::new(
        "mariadb-server",
        &["mariadb-server", "mariadb-client"],
        "sequences, a procedure, dumps",
        include_str!("../../workloads/scripts/mariadb-server.sh"),
    ),
    Workload::new(
        "rabbitmq-server",
        &["rabbitmq-server"],
        "virtual hosts and permissions, by Erlang's JIT",
        include_str!("../../workloads/scripts/rabbitmq-server.sh"),
    ),
];
