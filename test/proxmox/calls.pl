#!/usr/bin/perl

# Loads the plug-ins as Proxmox VE does, and calls their methods as lines of JSON on standard input say: {"on", "method", "args",
# "list"} with "storage" or "provider" to call. Each answer is a line {"result"} or {"error"}, with what was logged.

use strict;
use warnings;

use JSON;

use PVE::BackupProvider::Plugin::Base;
use PVE::Storage::Custom::VarvePlugin;

$| = 1;
my $json = JSON->new->canonical->allow_nonref;
my $storage = 'PVE::Storage::Custom::VarvePlugin';
my $scfg = $json->decode($ENV{VARVE_SCFG});
$PVE::Varve::Agent::SETTINGS = $ENV{VARVE_SETTINGS};
my @logged;
my $log = sub { push @logged, join(': ', @_); };
my $provider = $storage->new_backup_provider($scfg, 'varve', $log);

$SIG{INT} = $SIG{TERM} = sub { die "interrupted by signal\n" };
$SIG{__WARN__} = sub { push @logged, "warn: $_[0]"; };

while (my $line = <STDIN>) {
    my $call = $json->decode($line);
    my ($on, $method) = ($call->{on} eq 'storage' ? $storage : $provider, $call->{method});
    my $result = eval {
        return $method eq 'undefined' ? [grep { !defined(&{"PVE::BackupProvider::Plugin::Varve::$_"}) }
            @PVE::BackupProvider::Plugin::Base::METHODS] : [$on->$method($call->{args}->@*)] if $call->{list};
        return scalar($on->$method($call->{args}->@*));
    };
    my $err = $@;
    my $answer = $err ? { error => "$err" } : { result => $result };
    print $json->encode({ %$answer, logged => [splice(@logged)] }), "\n";
}
