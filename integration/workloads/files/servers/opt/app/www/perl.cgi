#!/usr/bin/perl
print "Content-Type: text/plain\n\nperl $ENV{QUERY_STRING}\n";
