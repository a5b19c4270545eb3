// Package netlab is the lab of the kernel tests and of the demo: network namespaces joined by veth
// pairs, with nftables as the faulty provider between them. It needs neither root nor a program on
// the host, only a kernel that permits user namespaces. It builds the paths that tests measure; it
// tests and measures nothing itself.
//
// A test package enables it once:
//
//	func TestMain(m *testing.M) { netlab.Main(m) }
//
// Main re-executes the test binary as root of new user, network and mount namespaces. If the system
// refuses them, the other tests of the package still run, and tests that call Need are skipped with
// the reason. With REQUIRE_NETNS=1 in the environment the run fails instead.
//
// A program uses RunInside, Enter and Build instead of Main and a *testing.T.
//
// The Provider is the path that most tests use. Segment n is 10.77.n.0/24 and fd77:n::/64; its
// device is netN at both ends. The near end (towards the client) has the host number 1, the far end
// 2:
//
//	         net1         net2         net3         net4
//	client ------- r1 ============ r2 ------- r3 ------- server
//	    .1   .2       .1  net5  .2   .1   .2    .1     .2
//	               .1 --------- .2
//
// r1 belongs to the client's site; r2 and r3 are the two edges of the provider. Faults are on r2,
// r3 and the link between them (net3), unless their description differs. net5 is the second path of
// scenario S15, net6 and net7 belong to AddUplink. A Plan puts several providers at one client.
package netlab
