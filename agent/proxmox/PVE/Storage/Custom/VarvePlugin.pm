package PVE::Storage::Custom::VarvePlugin;

# The storage type "varve": lists the restore points of guests, and gives Proxmox VE the backup provider. Nothing is kept here.

use strict;
use warnings;

use PVE::BackupProvider::Plugin::Varve;
use PVE::Varve::Agent;

use base qw(PVE::Storage::Plugin);

# The backup provider API is there since version 11 (Proxmox VE 8.4).
sub api { return 11; }

sub type { return 'varve'; }

sub plugindata {
    return {
        content => [{ backup => 1, none => 1 }, { backup => 1 }],
        features => { 'backup-provider' => 1 },
        'sensitive-properties' => {},
    };
}

# Whoever may change a storage need not be root: what only root may say is in the agent's settings.
sub properties {
    return {
        'varve-prefix' => {
            description => "What the names of machines at the gateway begin with, before the id of the guest.",
            type => 'string',
            default => 'vm-',
        },
        'varve-full-after' => {
            description => "Read a disk in full again when it was read so last longer ago than this, such as 30d.",
            type => 'string',
            default => '30d',
        },
    };
}

sub options {
    return {
        'varve-prefix' => { optional => 1 },
        'varve-full-after' => { optional => 1 },
        nodes => { optional => 1 },
        disable => { optional => 1 },
        content => { optional => 1 },
        'prune-backups' => { optional => 1 },
        'max-protected-backups' => { optional => 1 },
    };
}

my $KEPT = "Varve's gateway keeps restore points by its plans, and an agent may not delete them";

sub new_backup_provider {
    my ($class, $scfg, $storeid, $log) = @_;
    return PVE::BackupProvider::Plugin::Varve->new($class, $scfg, $storeid, $log);
}

# The size and the use of the gateway's store are not an agent's to know.
sub status {
    my ($class, $storeid, $scfg, $cache) = @_;
    return (0, 0, 0, $class->check_connection($storeid, $scfg) ? 1 : 0);
}

sub check_connection {
    my ($class, $storeid, $scfg) = @_;
    eval {
        my $agent = PVE::Varve::Agent->new($scfg);
        $agent->ask(['machines', '--config', $agent->config(), '--timeout', '5s'], timeout => 10);
    };
    return $@ ? 0 : 1;
}

sub activate_storage { return 1; }

sub deactivate_storage { return 1; }

sub activate_volume { return 1; }

sub deactivate_volume { return 1; }

sub parse_volname {
    my ($class, $volname) = @_;
    if ($volname =~ m!^backup/(vm/(\d{1,10})/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$!) {
        return ('backup', $1, $2, undef, undef, undef, 'raw');
    }
    die "\"$volname\" is no volume of a storage of the type varve\n";
}

sub path {
    my ($class, $scfg, $volname, $storeid, $snapname) = @_;
    my ($vtype, $name, $vmid) = $class->parse_volname($volname);
    return ("varve:$name", $vmid, $vtype);
}

sub filesystem_path {
    my ($class, $scfg, $volname, $snapname) = @_;
    return $class->path($scfg, $volname, undef, $snapname);
}

sub bytes_of {
    my ($point) = @_;
    my $bytes = 0;
    $bytes += $_->{size} for $point->{disks}->@*;
    return $bytes;
}

sub list_volumes {
    my ($class, $storeid, $scfg, $vmid, $content_types) = @_;
    return [] if !grep { $_ eq 'backup' } $content_types->@*;
    my $agent = PVE::Varve::Agent->new($scfg);
    my $volumes = [];
    for my $point ($agent->points($vmid)->@*) {
        my $owner = $agent->vmid($point->{machine}) // next;
        my $ctime = int($point->{timeMs} / 1000);
        push $volumes->@*, {
            volid => "$storeid:backup/vm/$owner/" . PVE::Varve::Agent::time_text($ctime),
            format => 'raw',
            content => 'backup',
            subtype => 'qemu',
            vmid => $owner,
            ctime => $ctime,
            size => bytes_of($point),
            protected => $point->{held} || $point->{lockedUntilMs} ? 1 : 0,
            notes => "restore point $point->{id}, $point->{kind}",
        };
    }
    return $volumes;
}

sub list_images { return []; }

sub volume_size_info {
    my ($class, $scfg, $storeid, $volname, $timeout) = @_;
    my ($point) = PVE::Varve::Agent->new($scfg)->point($volname);
    my $size = bytes_of($point);
    return wantarray ? ($size, 'raw', $point->{bytesStored}, undef) : $size;
}

sub get_volume_attribute {
    my ($class, $scfg, $storeid, $volname, $attribute) = @_;
    return undef if $attribute ne 'notes' && $attribute ne 'protected';
    my ($point) = PVE::Varve::Agent->new($scfg)->point($volname);
    return $point->{held} || $point->{lockedUntilMs} ? 1 : 0 if $attribute eq 'protected';
    return "restore point $point->{id}, $point->{kind}";
}

sub update_volume_attribute {
    my ($class, $scfg, $storeid, $volname, $attribute, $value) = @_;
    # vzdump sets notes from its template after a backup, which must not fail it
    if ($attribute eq 'notes') {
        warn "notes of Proxmox VE are not kept with a restore point\n" if ($value // '') ne '';
        return;
    }
    my ($point) = PVE::Varve::Agent->new($scfg)->point($volname);
    my $verb = $value ? 'hold' : 'release';
    die "an agent may not do this: varve-gateway $verb $point->{id} at the gateway does\n";
}

sub free_image {
    my ($class, $storeid, $scfg, $volname, $isBase, $format) = @_;
    my $agent = PVE::Varve::Agent->new($scfg);
    my ($point) = $agent->point($volname);
    my ($gateway, $token, $ca) = $agent->@{qw(gateway tokenFile ca)};
    if (!defined($gateway) || !defined($token)) {
        die "$KEPT: varve-gateway prune --point $point->{id} at the gateway does, or tokenFile in $PVE::Varve::Agent::SETTINGS\n";
    }
    # the file is named, and the token in it is never among the arguments
    my @who = ('--gateway', $gateway, '--token-file', $token);
    push @who, '--ca', $ca if defined($ca);
    $agent->manage(['prune', '--point', $point->{id}, @who], timeout => 600);
    return undef;
}

# Everything is kept: what goes, and when, the gateway's plan says.
sub prune_backups {
    my ($class, $scfg, $storeid, $keep, $vmid, $type, $dryrun, $log) = @_;
    return [] if defined($type) && $type ne 'qemu';
    $log->('info', "$KEPT: nothing is pruned from here") if $log && !$dryrun;
    my $volumes = $class->list_volumes($storeid, $scfg, $vmid, ['backup']);
    my $marks = [];
    for my $volume ($volumes->@*) {
        push $marks->@*, {
            volid => $volume->{volid},
            vmid => $volume->{vmid},
            ctime => $volume->{ctime},
            type => 'qemu',
            mark => $volume->{protected} ? 'protected' : 'keep',
        };
    }
    return $marks;
}

sub volume_has_feature { return 0; }

for my $verb (qw(alloc_image clone_image create_base rename_volume volume_resize volume_snapshot
    volume_snapshot_rollback volume_snapshot_delete volume_import volume_export)) {
    no strict 'refs';
    *$verb = sub { die "a storage of the type varve holds backups only\n"; };
}

1;
