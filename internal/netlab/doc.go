// Package netlab is the laboratory of the kernel tests, and of the demonstration: network namespaces joined by veth pairs, with nftables as the
// faulty provider between them. It needs neither root nor any program on the host, only a kernel that lets the
// caller have a user namespace. It tests nothing itself and measures no path; it builds the paths that tests measure.
//
// A test package that wants it says so once:
//
//	func TestMain(m *testing.M) { netlab.Main(m) }
//
// Main re-executes the test binary as root of a user, network and mount namespace of its own. Where that is refused the
// other tests of the package still run, those that call Need are skipped with the reason, and with REQUIRE_NETNS=1 in
// the environment the run fails.
//
// A program that is no test has RunInside, Enter and Build in place of Main and of a *testing.T.
//
// The Provider is the path that most tests use. Each segment n is 10.77.n.0/24 and fd77:n::/64, its device is called
// netN at both ends, and the near end (towards the client) has the host number 1, the far end 2:
//
//	         net1         net2         net3         net4
//	client ------- r1 ============ r2 ------- r3 ------- server
//	    .1   .2       .1  net5  .2   .1   .2    .1     .2
//	               .1 --------- .2
//
// The client's user owns r1; r2 and r3 are the two edges of the provider. Faults happen on r2 and r3 and on the link
// between them (net3), unless their description says otherwise. net5 is the second way of scenario S15, net6
// and net7 are those of AddUplink. A Plan puts several providers at one client.
package netlab
