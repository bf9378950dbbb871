package PVE::Tools;

# What the plug-ins use of Proxmox VE's module of this name, for tests: the same arguments and results.

use strict;
use warnings;

use IO::Select;
use IPC::Open3;
use Symbol qw(gensym);

sub run_command {
    my ($command, %options) = @_;
    die "a command must be a list\n" if ref($command) ne 'ARRAY';
    my $errors = gensym();
    # "<&NUMBER" is that descriptor
    my $in = $options{input} && $options{input} =~ m/^<&/ ? $options{input} : undef;
    my $pid = open3($in, my $out, $errors, @$command);
    close($in) if ref($in);
    my %functions = (fileno($out) => $options{outfunc}, fileno($errors) => $options{errfunc});
    my %rest;
    my $select = IO::Select->new($out, $errors);
    my $end = $options{timeout} ? time() + $options{timeout} : undef;
    eval {
        while ($select->count()) {
            my @ready = $select->can_read(defined($end) ? $end - time() : undef);
            die "got timeout\n" if !@ready;
            for my $handle (@ready) {
                my $number = fileno($handle);
                $rest{$number} //= '';
                my $bytes = sysread($handle, $rest{$number}, 65536, length($rest{$number}));
                die "cannot read: $!\n" if !defined($bytes);
                while ($rest{$number} =~ s/^([^\n]*)\n//) { $functions{$number}->($1) if $functions{$number}; }
                next if $bytes > 0;
                $functions{$number}->($rest{$number}) if length($rest{$number}) && $functions{$number};
                $select->remove($handle);
            }
        }
    };
    my $err = $@;
    if ($err) {
        kill 'KILL', $pid;
        waitpid($pid, 0);
        die $err;
    }
    waitpid($pid, 0);
    my $code = $? & 127 ? -1 : $? >> 8;
    die "command '@$command' failed: exit code $code\n" if $code != 0 && !$options{noerr};
    return $code;
}

sub file_set_contents {
    my ($file, $content, $mode) = @_;
    sysopen(my $handle, $file, 0101 | 01000, $mode // 0644) or die "cannot write $file: $!\n";
    print {$handle} $content;
    close($handle) or die "cannot write $file: $!\n";
}

sub file_get_contents {
    my ($file) = @_;
    open(my $handle, '<', $file) or die "cannot read $file: $!\n";
    local $/;
    return scalar(<$handle>);
}

1;
