package PVE::BackupProvider::Plugin::Varve;

# The backup provider: qemu-server holds the lease of a guest, and varve-agent reads it over NBD and backs it up.

use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);
use IO::Socket::UNIX;
use POSIX ();
use Time::HiRes qw(usleep);

use PVE::Tools;
use PVE::Varve::Agent;

use base qw(PVE::BackupProvider::Plugin::Base);

# Names of attachments.
my $GUEST_CONFIG = 'qemu-server.conf';
my $FIREWALL_CONFIG = 'firewall.fw';

# How long an export may take until it can be read, in seconds.
my $EXPORT_SECONDS = 60;

# Logs that are kept of each guest.
my $LOGS_KEPT = 30;

our $NBDFUSE = '/usr/bin/nbdfuse';

sub new {
    my ($class, $storage_plugin, $scfg, $storeid, $log) = @_;
    return bless {
        scfg => $scfg,
        storeid => $storeid,
        log => $log,
        agent => PVE::Varve::Agent->new($scfg, $log),
        # of each guest that is being backed up, and of each disk that is being restored
        backups => {},
        volumes => {},
    }, $class;
}

sub provider_name { return 'Varve'; }

# Fails where the gateway or the agent of this host cannot be reached, before any guest is touched.
sub job_init {
    my ($self, $start_time) = @_;
    my $agent = $self->{agent};
    $agent->ask(['machines', '--config', $agent->config()], timeout => 60);
    return;
}

sub job_cleanup {
    my ($self) = @_;
    $self->_forget($_) for keys $self->{backups}->%*;
    return;
}

my sub only_vms {
    my ($vmid, $vmtype) = @_;
    return if $vmtype eq 'qemu';
    die "guest $vmid is a container, and Varve backs up virtual machines only: use another storage for it\n";
}

sub backup_init {
    my ($self, $vmid, $vmtype, $start_time) = @_;
    only_vms($vmid, $vmtype);
    my $time = PVE::Varve::Agent::time_text($start_time);
    $self->{backups}->{$vmid} = { machine => $self->{agent}->machine($vmid), time => $time };
    return { 'archive-name' => "vm/$vmid/$time" };
}

sub backup_get_mechanism {
    my ($self, $vmid, $vmtype) = @_;
    only_vms($vmid, $vmtype);
    return 'nbd';
}

sub backup_vm_query_incremental {
    my ($self, $vmid, $volumes) = @_;
    my $agent = $self->{agent};
    my @disks = map { ('--disk', PVE::Varve::Agent::encoded($_) . "=$volumes->{$_}->{size}") } sort keys $volumes->%*;
    return if !@disks;
    my $after = $self->{scfg}->{'varve-full-after'} // '30d';
    my $command = ['external', 'query', '--machine', $agent->machine($vmid), @disks, '--full-after', $after];
    my $answer = $agent->ask([@$command, '--agent-config', $agent->config()], timeout => 60);
    return { map { ($_->{name} => $_->{bitmap}) } $answer->{disks}->@* };
}

# The uuid by which a guest is the same one on another node.
my sub uuid_of {
    my ($config) = @_;
    # only what is before the first snapshot is the guest as it is
    my ($own) = $config =~ m/\A(.*?)(?:^\[|\z)/ms;
    return $own =~ m/^smbios1:.*?\buuid=([0-9a-fA-F-]{36})\b/m ? lc($1) : undef;
}

sub backup_vm {
    my ($self, $vmid, $guest_config, $volumes, $info) = @_;
    my $agent = $self->{agent};
    my $backup = $self->{backups}->{$vmid} or die "the backup of guest $vmid was not begun\n";
    my $folder = $agent->folder();
    $backup->{folder} = $folder;
    my @files = ([$GUEST_CONFIG, $guest_config]);
    push @files, [$FIREWALL_CONFIG, $info->{'firewall-config'}] if defined($info->{'firewall-config'});
    my @config;
    for my $file (@files) {
        my ($name, $content) = @$file;
        PVE::Tools::file_set_contents("$folder/$name", $content, 0600);
        push @config, '--config', "$folder/$name";
    }
    my @disks;
    for my $device (sort keys $volumes->%*) {
        my ($socket, $mode, $bitmap) = $volumes->{$device}->@{qw(nbd-path bitmap-mode bitmap-name)};
        my $export = PVE::Varve::Agent::encoded($device);
        my $disk = "$export=" . PVE::Varve::Agent::encoded($socket) . ":$export";
        $disk .= ':' . PVE::Varve::Agent::encoded($bitmap) . ":$mode" if ($mode // 'none') ne 'none';
        push @disks, '--disk', $disk;
    }
    my $uuid = uuid_of($guest_config);
    my $limit = $info->{'bandwidth-limit'};
    my $answer = $agent->ask(
        [
            'external', 'backup', '--machine', $backup->{machine}, '--instant', $backup->{time}, @disks, @config,
            defined($uuid) ? ('--uuid', $uuid) : (),
            $limit ? ('--bandwidth', int($limit)) : (),
            '--while-stdin', '--agent-config', $agent->config(),
        ],
        loud => 1,
        held => 1,
    );
    my $point = $answer->{point};
    $backup->{bytes} = $point->{bytesStored};
    for my $disk ($point->{disks}->@*) {
        $self->{log}->('info', "$disk->{name}: $disk->{kind} ($disk->{reason}), $disk->{changedBytes} bytes changed");
    }
    $self->{log}->('info', "restore point $point->{id} is durable");
    # a guest that came back without its firewall would be open
    for my $file (@files) {
        my $name = $file->[0];
        next if grep { $_->{name} eq $name } ($point->{attachments} // [])->@*;
        my ($missing) = grep { $_->{name} eq $name } ($answer->{missing} // [])->@*;
        my $why = $missing ? $missing->{reason} : 'the agent did not read it';
        die "the disks of guest $vmid are in restore point $point->{id}, but $name is not: $why\n";
    }
    return;
}

sub backup_container_prepare { my ($self, $vmid) = @_; only_vms($vmid, 'lxc'); }

sub backup_container { my ($self, $vmid) = @_; only_vms($vmid, 'lxc'); }

# The log is not complete before the restore point is, so it cannot be part of it: it is kept here.
sub backup_handle_log_file {
    my ($self, $vmid, $file) = @_;
    my $folder = $self->{agent}->{logs} // return;
    my $backup = $self->{backups}->{$vmid} // return;
    make_path($folder, { mode => 0700 });
    my $machine = $backup->{machine};
    copy($file, "$folder/$machine-$backup->{time}.log") or die "cannot keep the log of guest $vmid in $folder: $!\n";
    opendir(my $dh, $folder) or die "cannot read $folder: $!\n";
    my @logs = sort grep { m/^\Q$machine\E-\d{4}-.*\.log$/ } readdir($dh);
    closedir($dh);
    while (@logs > $LOGS_KEPT) { unlink("$folder/" . shift(@logs)); }
    return;
}

sub _forget {
    my ($self, $vmid) = @_;
    my $backup = delete $self->{backups}->{$vmid} // return;
    remove_tree($backup->{folder}) if defined($backup->{folder});
    return $backup;
}

sub backup_cleanup {
    my ($self, $vmid, $vmtype, $success, $info) = @_;
    my $backup = $self->{backups}->{$vmid};
    remove_tree(delete $backup->{folder}) if $backup && defined($backup->{folder});
    return if !$success;
    return { stats => { 'archive-size' => $backup ? $backup->{bytes} // 0 : 0 } };
}

sub restore_get_mechanism {
    my ($self, $volname) = @_;
    $self->{agent}->point($volname);
    return ('qemu-img', 'qemu');
}

# The content of an attachment; undef where the restore point has none of this name.
sub _attachment {
    my ($self, $volname, $name) = @_;
    my $agent = $self->{agent};
    my ($point) = $agent->point($volname);
    return undef if !grep { $_->{name} eq $name } $point->{attachments}->@*;
    my $folder = $agent->folder();
    my $content = eval {
        my $to = "$folder/$name";
        $agent->run(['restore', $point->{id}, '--attachment', $name, '--to', $to, '--config', $agent->config()]);
        PVE::Tools::file_get_contents($to);
    };
    my $err = $@;
    remove_tree($folder);
    die $err if $err;
    return $content;
}

sub archive_get_guest_config {
    my ($self, $volname) = @_;
    return $self->_attachment($volname, $GUEST_CONFIG)
        // die "the restore point has no configuration of Proxmox VE: it was not made by it\n";
}

sub archive_get_firewall_config {
    my ($self, $volname) = @_;
    return $self->_attachment($volname, $FIREWALL_CONFIG);
}

sub restore_vm_init {
    my ($self, $volname) = @_;
    my ($point) = $self->{agent}->point($volname);
    return { map { ($_->{name} => { size => $_->{size} }) } $point->{disks}->@* };
}

sub restore_vm_cleanup {
    my ($self, $volname) = @_;
    $self->_end_volume($_) for keys $self->{volumes}->%*;
    return;
}

# Starts a program that goes on; it does not get the signals of the terminal.
my sub start {
    my (@command) = @_;
    my $pid = fork() // die "cannot start $command[0]: $!\n";
    return $pid if $pid;
    POSIX::setsid();
    open(STDIN, '<', '/dev/null');
    open(STDOUT, '>', '/dev/null');
    # of what ends by a signal, as it is meant to, nothing is to be told
    open(STDERR, '>', '/dev/null');
    { no warnings 'exec'; exec { $command[0] } @command; }
    POSIX::_exit(127);
}

# What went wrong instead, as a clause; undef once it is ready. What it dies of is an interruption.
my sub wait_for {
    my ($what, $pid, $ready) = @_;
    for (1 .. $EXPORT_SECONDS * 20) {
        return undef if $ready->();
        return "$what ended early" if waitpid($pid, POSIX::WNOHANG()) != 0;
        usleep(50_000);
    }
    return "$what was not ready within $EXPORT_SECONDS s";
}

my sub end_process {
    my ($pid) = @_;
    kill 'TERM', $pid;
    for (1 .. 200) {
        return if waitpid($pid, POSIX::WNOHANG()) != 0;
        usleep(50_000);
    }
    kill 'KILL', $pid;
    waitpid($pid, 0);
}

# A file of a disk's content: of an export where nbdfuse makes one of it, so that only what is read comes from the gateway; else
# a copy, for which the scratch folder needs as much space as the disk has data.
sub restore_vm_volume_init {
    my ($self, $volname, $device, $info) = @_;
    my $agent = $self->{agent};
    my ($point) = $agent->point($volname);
    die "the restore point has no disk $device\n" if !grep { $_->{name} eq $device } $point->{disks}->@*;
    my $folder = $agent->folder();
    my $volume = $self->{volumes}->{$device} = { folder => $folder };
    my $path = eval {
        my ($offered, $why) = -x $NBDFUSE && -e '/dev/fuse' ? $self->_export($volume, $point->{id}, $device) : ();
        return $offered if defined($offered);
        $self->{log}->('warn', "disk $device cannot be offered as it is, so it is copied first: $why") if defined($why);
        _end_export($volume);
        my $copy = "$folder/disk.raw";
        my @command = ('restore', $point->{id}, '--disk', $device, '--to', $copy, '--format', 'raw');
        $agent->run([@command, '--config', $agent->config()], loud => 1);
        return $copy;
    };
    if (my $err = $@) {
        $self->_end_volume($device);
        die $err;
    }
    return { 'qemu-img-path' => $path };
}

# The path of the file, or undef and why there is none.
sub _export {
    my ($self, $volume, $id, $device) = @_;
    my $agent = $self->{agent};
    my $socket = "$volume->{folder}/nbd";
    $volume->{export} = start(
        $agent->{program}, 'export', $id, '--disk', $device, '--socket', $socket, '--config', $agent->config(),
    );
    my $why = wait_for('the export', $volume->{export}, sub { IO::Socket::UNIX->new(Peer => $socket) ? 1 : 0; });
    return (undef, $why) if defined($why);
    my $mount = "$volume->{folder}/mount";
    mkdir($mount, 0700) or die "cannot make $mount: $!\n";
    my $uri = 'nbd+unix:///' . PVE::Varve::Agent::encoded($device) . "?socket=$socket";
    $volume->{fuse} = start($NBDFUSE, '--readonly', "$mount/disk.raw", $uri);
    $why = wait_for('nbdfuse', $volume->{fuse}, sub { -e "$mount/disk.raw" });
    return defined($why) ? (undef, $why) : ("$mount/disk.raw", undef);
}

sub _end_export {
    my ($volume) = @_;
    # nbdfuse unmounts when it is told to end
    end_process(delete $volume->{fuse}) if $volume->{fuse};
    end_process(delete $volume->{export}) if $volume->{export};
}

sub _end_volume {
    my ($self, $device) = @_;
    my $volume = delete $self->{volumes}->{$device} // return;
    _end_export($volume);
    remove_tree($volume->{folder});
    return;
}

sub restore_vm_volume_cleanup {
    my ($self, $volname, $device, $info) = @_;
    $self->_end_volume($device);
    return;
}

sub restore_container_init { die "Varve has no backups of containers\n"; }

sub restore_container_cleanup { return; }

1;
