from streamkit.testing.clock import Deadlock as Deadlock, VirtualClock as VirtualClock, timed as timed
from streamkit.testing.leaks import assert_no_leaks as assert_no_leaks
from streamkit.testing.probes import Probe as Probe
