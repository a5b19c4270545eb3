// Package capture tells from packet captures what happened to IKE, ESP, AH and their fragments on the way between VPN gateways.
//
// Read takes frames out of a pcap or pcapng file, Analyze looks at one capture, Compare at two captures of the same traffic taken at both ends,
// and Report prints what was found as text or JSON. A capture of any size is read in one pass with bounded memory.
//
// It decrypts nothing, so what is inside of IKE messages is concluded from their order and size only. What cannot be told from
// a capture is said to be unknown: a fragment that only was not captured must not be taken for one that was lost.
//
//	file -> Read -> link.go -> parse -> fragments -> negotiation, pair ... -> findings
//	                (frames)   (IP)     (datagrams)  (who said what)
package capture
