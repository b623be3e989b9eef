# SPDX-License-Identifier: MIT
#
# A graph as hashes of arrays, about 300,000 blocks alive at the top, then walked, thinned and rebuilt: shallow
# stacks, a large live table.  Argument: rounds.
use strict;
use warnings;

my $rounds = shift // 3;
my $state  = 1337;
my %graph;

sub chance {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    return ($state >> 8) % $_[0];
}

for my $node (0 .. 35_999) {
    $graph{"node $node"} = { name => "n" . chance(1_000_000), edges => [map { "node " . chance(36_000) } 1 .. 4] };
}
my $visited = 0;
for (1 .. $rounds) {
    my ($start) = "node " . chance(36_000);
    my %seen;
    my @queue = ($start);
    while (defined(my $name = shift @queue)) {
        next if $seen{$name}++;
        $visited++;
        push @queue, @{ $graph{$name}{edges} } if exists $graph{$name};
    }
    for (1 .. 6_000) {
        my $name = "node " . chance(36_000);
        delete $graph{$name};
        $graph{$name} = { name => "n" . chance(1_000_000), edges => [map { "node " . chance(36_000) } 1 .. 4] };
    }
}
print "$visited\n";
