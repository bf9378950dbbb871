package PVE::Storage::Plugin;

# The base class of storage plug-ins, for tests.

use strict;
use warnings;

1;
