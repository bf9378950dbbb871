package PVE::Varve::Agent;

# Calls varve-agent: always with a list of arguments, never through a shell, and with no secret among them, as the agent has its own.

use strict;
use warnings;

use Errno;
use Fcntl qw(:mode O_NOFOLLOW O_NONBLOCK O_RDONLY);
use File::Temp qw(tempdir);
use JSON;
use POSIX qw(strftime);
use Time::Local qw(timegm);

use PVE::Tools;

# What only root may say, as programs that are run and secrets that are used depend on it: whoever may change a storage in Proxmox
# VE need not be root.
our $SETTINGS = '/etc/varve/proxmox.json';

# The keys of that file, all of them absolute paths but the gateway's address.
my %DEFAULTS = (
    config => '/etc/varve/agent.toml',
    program => '/usr/bin/varve-agent',
    scratch => '/var/tmp',
    logs => undef,
    gateway => undef,
    tokenFile => undef,
    ca => undef,
    gatewayProgram => '/usr/bin/varve-gateway',
);

# Most bytes of it.
my $SETTINGS_BYTES_MAX = 65_536;

# How long a command that only looks may take, in seconds.
my $LOOK_SECONDS = 60;

# Names that a machine of Varve can have.
my $MACHINE_RE = qr/[A-Za-z0-9][A-Za-z0-9._-]{0,62}/;

# The text of the settings; undef where there is no file.
my sub settings_text {
    sysopen(my $handle, $SETTINGS, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or do {
        return undef if $!{ENOENT};
        die "$SETTINGS is a symbolic link, which is not followed\n" if $!{ELOOP};
        die "cannot read $SETTINGS: $!\n";
    };
    my ($mode, $uid) = (stat($handle))[2, 4];
    die "$SETTINGS is no file\n" if !S_ISREG($mode);
    die "$SETTINGS must be owned by root: it says which programs run as root\n" if $uid != 0;
    die "$SETTINGS may be written by others than root: chmod 600 $SETTINGS\n" if $mode & (S_IWGRP | S_IWOTH);
    my $text = '';
    while (length($text) <= $SETTINGS_BYTES_MAX) {
        my $bytes = sysread($handle, $text, 8192, length($text)) // die "cannot read $SETTINGS: $!\n";
        return $text if $bytes == 0;
    }
    die "$SETTINGS has more than $SETTINGS_BYTES_MAX bytes\n";
}

my sub settings {
    my $text = settings_text() // return { %DEFAULTS };
    my $told = eval { decode_json($text) };
    die "$SETTINGS is no JSON object\n" if ref($told) ne 'HASH';
    for my $key (sort keys %$told) {
        die "$SETTINGS has an unknown key \"$key\"\n" if !exists($DEFAULTS{$key});
        my $value = $told->{$key};
        my $form = $key eq 'gateway' ? qr!^[a-z]! : qr!^/!;
        next if defined($value) && !ref($value) && $value =~ $form && $value !~ m/[\0-\x1f]/;
        die "$key in $SETTINGS is no " . ($key eq 'gateway' ? 'address' : 'absolute path') . "\n";
    }
    return { %DEFAULTS, %$told };
}

sub new {
    my ($class, $scfg, $log) = @_;
    return bless {
        settings()->%*,
        prefix => $scfg->{'varve-prefix'} // 'vm-',
        log => $log // sub { },
    }, $class;
}

sub config { return $_[0]->{config}; }

# A new folder of one's own below the scratch folder.
sub folder { return tempdir('varve-XXXXXXXX', DIR => $_[0]->{scratch}); }

# The machine at the gateway that a guest is.
sub machine {
    my ($self, $vmid) = @_;
    die "\"$vmid\" is no id of a guest\n" if $vmid !~ m/^\d{1,10}$/;
    my $name = "$self->{prefix}$vmid";
    die "a machine cannot be called \"$name\": see varve-prefix\n" if $name !~ m/^$MACHINE_RE$/;
    return $name;
}

# The guest that a machine is; undef where its name has another prefix.
sub vmid {
    my ($self, $machine) = @_;
    return $machine =~ m/^\Q$self->{prefix}\E(\d{1,10})$/ ? $1 : undef;
}

sub time_text { return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime($_[0])); }

sub text_time {
    my ($text) = @_;
    my ($y, $mo, $d, $h, $mi, $s) = $text =~ m/^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/
        or die "\"$text\" is no time of a backup\n";
    return timegm($s, $mi, $h, $d, $mo - 1, $y);
}

# A text with what would end a part of "--disk" written as %XX.
sub encoded {
    my ($text) = @_;
    $text =~ s/([^A-Za-z0-9._\/-])/sprintf('%%%02X', ord($1))/ge;
    return $text;
}

# Runs a command to its end; dies with what it says of its failure. Every line of it is told while it runs. The result is what it
# printed.
sub run {
    my ($self, $args, %options) = @_;
    my @lines;
    my @said;
    my $heard = sub {
        my ($line) = @_;
        push @said, $line;
        shift @said if @said > 50;
        $self->{log}->('info', $line) if $options{loud};
    };
    # the other end is closed with this process, however it ends, and by no program that it starts
    my ($reader, $writer);
    if ($options{held}) { pipe($reader, $writer) or die "cannot make a pipe: $!\n"; }
    my $code = PVE::Tools::run_command(
        [$options{program} // $self->{program}, @$args],
        outfunc => sub { push @lines, $_[0]; },
        errfunc => $heard,
        noerr => 1,
        $reader ? (input => '<&' . fileno($reader)) : (),
        defined($options{timeout}) ? (timeout => $options{timeout}) : (),
    );
    my $answer = join("\n", @lines);
    return $answer if defined($code) && $code == 0;
    my $json = $options{json} ? eval { decode_json($lines[-1] // '') } : undef;
    if ($json && ref($json->{error}) eq 'HASH') {
        die "$json->{error}->{message} ($json->{error}->{code})\n";
    }
    my $why = @said ? $said[-1] : 'it ended with ' . ($code // 'a signal');
    die "$args->[0] of Varve failed: $why\n";
}

# The same with --json; the result is what its last line says.
sub ask {
    my ($self, $args, %options) = @_;
    my $answer = $self->run([@$args, '--json'], %options, json => 1);
    my ($last) = $answer =~ m/([^\n]*)\z/;
    my $value = eval { decode_json($last) };
    die "$args->[0] of Varve gave no JSON: $@" if $@;
    return $value;
}

# The same as ask, with varve-gateway, as the person whose token it is given.
sub manage {
    my ($self, $args, %options) = @_;
    return $self->ask($args, %options, program => $self->{gatewayProgram});
}

# The restore points of a guest, or of all of this host's; newest first.
sub points {
    my ($self, $vmid) = @_;
    my @machine = defined($vmid) ? ($self->machine($vmid)) : ();
    my $answer = eval {
        $self->ask(['points', @machine, '--config', $self->{config}], timeout => $LOOK_SECONDS);
    };
    if (my $err = $@) {
        # a guest that was never backed up
        return [] if defined($vmid) && $err =~ m/\(NOT_FOUND\)/;
        die $err;
    }
    return $answer->{points};
}

# The restore point of a volume's name such as "backup/vm/100/2026-11-30T00:00:00Z", and its guest.
sub point {
    my ($self, $volname) = @_;
    my ($vmid, $time) = $volname =~ m!^(?:backup/)?vm/(\d{1,10})/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$!
        or die "\"$volname\" is no backup of Varve\n";
    my $wanted = text_time($time);
    my @found = grep { int($_->{timeMs} / 1000) == $wanted } $self->points($vmid)->@*;
    die "there is no restore point of guest $vmid at $time that this host may read\n" if !@found;
    die "there are several restore points of guest $vmid at $time\n" if @found > 1;
    return ($found[0], $vmid);
}

1;
