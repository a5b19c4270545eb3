// Package capture concludes from packet captures what happened to IKE, ESP, AH and their fragments
// between VPN gateways.
//
// Read takes frames from a pcap or pcapng file, Analyze reads one capture, Compare two captures of
// the same traffic taken at both ends, and Report prints the findings as text or JSON. A capture of
// any size is read in one pass with bounded memory.
//
// It decrypts nothing: the content of IKE messages is concluded from their order, their size and the
// type of their first encrypted payload. What a capture does not show is unknown: a fragment that
// was not captured does not count as lost.
//
//	file -> Read -> link, encapsulation -> parse -> fragments -> negotiation, pair ... -> findings
//	                (frames)               (IP)     (datagrams)  (messages)
package capture
