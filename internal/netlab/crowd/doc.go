// Package crowd simulates thousands of VPN gateways, and the paths to them, behind one TUN device.
// Benchmarks and scale tests measure them like real peers: they answer ICMP echo, and IKE on UDP
// 500 and 4500 like package responder.
//
//	exporter ─▶ TUN device ─▶ parse ─▶ path ─▶ gateway ─▶ timing wheel ─▶ TUN device ─▶ exporter
//	                                    │
//	                     TTL, loss, path MTU, fragments, filters
//
// The profile of a peer is a pure function of the seed and its address. So the truth about each
// peer is known without the simulator: Profile has it, and Expect derives the verdict that a correct
// measurement reaches. Loss and jitter of the nth packet to a peer are functions of seed, address
// and n.
//
// World is the simulation itself. It has no device and no clock, and needs no privileges. Crowd runs
// it on a device in the network namespace of the process.
//
// The package does not limit the rate of ICMP errors, keeps no IKE state and encrypts nothing. The
// delay of a packet is a multiple of about one millisecond; Residence reports the true times.
package crowd
