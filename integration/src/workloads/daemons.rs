//! Services that fork, drop rights and start others.

use super::workload::{Foreign, Held::Always, Start, Workload};

/// What runs in the background: servers of mail, names and pages, and what starts others.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "php-fpm",
        &["php-fpm", "libfcgi-bin"],
        "its JIT, in processes that share its memory; executes itself again",
        include_str!("../../workloads/scripts/php-fpm.sh"),
    ),
    Workload::new(
        "at",
        &["at"],
        "jobs that are written down and run at once",
        include_str!("../../workloads/scripts/at.sh"),
    ),
    Workload::new(
        "anacron",
        &["anacron", "cron", "logrotate"],
        "jobs of the system, daily ones of the image by `run-parts`",
        include_str!("../../workloads/scripts/anacron.sh"),
    ),
    Workload::new(
        "supervisor",
        &["supervisor"],
        "starts programs, starts them again when they die",
        include_str!("../../workloads/scripts/supervisor.sh"),
    ),
    Workload::new(
        "runit",
        &["runit"],
        "starts services by their `run`, again and again",
        include_str!("../../workloads/scripts/runit.sh"),
    ),
    Workload::new(
        "s6",
        &["s6", "execline"],
        "starts services by shell and by execline",
        include_str!("../../workloads/scripts/s6.sh"),
    ),
    Workload::new(
        "logrotate",
        &["logrotate"],
        "scripts before and after, compresses",
        include_str!("../../workloads/scripts/logrotate.sh"),
    ),
    Workload::new(
        "postfix",
        &["postfix"],
        "delivers to mailboxes, and to a program, by daemons in a chroot",
        include_str!("../../workloads/scripts/postfix.sh"),
    ),
    Workload::new(
        "name-servers",
        &["dnsmasq-base", "unbound", "bind9", "bind9-dnsutils"],
        "three of them, which drop their user, and questions",
        include_str!("../../workloads/scripts/name-servers.sh"),
    ),
    Workload::new(
        "slapd",
        &["slapd", "ldap-utils"],
        "modules, adds and finds",
        include_str!("../../workloads/scripts/slapd.sh"),
    ),
    Workload::new(
        "postgresql-languages",
        &["postgresql", "postgresql-plperl-15", "postgresql-plpython3-15"],
        "extensions, functions in Perl and Python",
        include_str!("../../workloads/scripts/postgresql-languages.sh"),
    ),
    Workload::new(
        "dbus",
        &["dbus"],
        "a bus, which starts a program of the image",
        include_str!("../../workloads/scripts/dbus.sh"),
    ),
    Workload::new(
        "gunicorn",
        &["gunicorn"],
        "is reloaded; hands over to a second of itself",
        include_str!("../../workloads/scripts/gunicorn.sh"),
    ),
    Workload::new(
        "puma",
        &["puma"],
        "serves `config.ru`, by processes",
        include_str!("../../workloads/scripts/puma.sh"),
    ),
    Workload::new(
        "lighttpd",
        &["lighttpd"],
        "serves files and CGI",
        include_str!("../../workloads/scripts/lighttpd.sh"),
    ),
    Workload::new(
        "nginx-lua",
        &["libnginx-mod-http-lua", "nginx-light"],
        "answers by LuaJIT; is reloaded",
        include_str!("../../workloads/scripts/nginx-lua.sh"),
    ),
    Workload::new(
        "uwsgi",
        &["uwsgi-core", "uwsgi-plugin-python3"],
        "loads Python; executes itself again",
        include_str!("../../workloads/scripts/uwsgi.sh"),
    ),
    Workload::new(
        "squid",
        &["squid"],
        "proxies, by helpers in Perl and C",
        include_str!("../../workloads/scripts/squid.sh"),
    ),
    Workload::new(
        "mosquitto",
        &["mosquitto", "mosquitto-clients"],
        "says and hears messages",
        include_str!("../../workloads/scripts/mosquitto.sh"),
    ),
    Workload::new(
        "rsyslog",
        &["rsyslog"],
        "modules, a script of the image that is told each line",
        include_str!("../../workloads/scripts/rsyslog.sh"),
    ),
    Workload::new(
        "monit",
        &["monit"],
        "looks at a program each second, and runs another",
        include_str!("../../workloads/scripts/monit.sh"),
    ),
    Workload::new(
        "services",
        &["cron", "at", "ca-certificates", "php-cli", "dpkg"],
        "starts by `service`; `dpkg-reconfigure`, `update-ca-certificates`, `phpenmod`",
        include_str!("../../workloads/scripts/services.sh"),
    ),
    Workload::new(
        "dumb-init",
        &["dumb-init"],
        "is the container's first process",
        include_str!("../../workloads/scripts/dumb-init.sh"),
    )
    .start(Start::Behind(&["dumb-init", "--"])),
    Workload::new(
        "varnish",
        &["varnish"],
        "compiles its configuration into a library, and loads that",
        include_str!("../../workloads/scripts/varnish.sh"),
    )
    .foreign(&[Foreign::new("/scratch/vcl/**", Always, "the libraries")]),
];
