package report

import "fmt"

// Names on the device, as in the URL of the capture.
const (
	asaCapture = "ISAKMP"
	asaList    = "ISAKMP-CAPTURE"
)

// cisco is how to see the same on a Cisco ASA at either end of the tunnel. No such device was at hand to try it: the commands are those of Cisco's
// guides and of people who ran them.
func (r *Report) cisco() section {
	own, peer := r.sender(), r.Address
	s := section{title: "If the gateways are Cisco ASA"}
	if r.Source == "" || r.hidden() {
		own = "OUR-PUBLIC-ADDRESS"
		s.say("OUR-PUBLIC-ADDRESS stands for the address of the gateway at this end as the other end sees it.")
	} else {
		s.say("%s stands for the gateway at this end: if that has another address than the one that was measured from, put it there.", own)
	}
	s.say("Capture at both ends at the same time: UDP (ports %d and %d), ESP (IP protocol 50), AH (IP protocol 51), and ICMP errors. "+
		"The lists name no ports, because IP fragments after the first have none. At this end:", r.port("ike", 500), r.port("natt", 4500))
	s.commands(r.asaLists(own, peer, own)...)
	s.say("At the other end:")
	s.commands(r.asaLists(own, peer, peer)...)
	s.say("Read the captures in Wireshark from `https://<device>/capture/%s/pcap`, or both at once with `ipsec_path_exporter capture FILE FILE`. "+
		"An ASA may put fragments together before it captures: one that is missing in a capture may have arrived alone, and `show fragment` counts those.", asaCapture)
	s.say("Watch one fresh attempt, of this one peer only: `clear` with an address leaves other branches up, without one it takes all tunnels down (from 8.4 on also `clear crypto ikev1 sa %s`).", peer)
	s.commands(
		"debug crypto isakmp 5",
		"! at this end:",
		"clear crypto isakmp sa "+peer,
		"! or at the other end:",
		"clear crypto isakmp sa "+own,
		"show crypto isakmp sa",
	)
	s.say("Take it all away again:")
	s.commands("undebug all", "no capture "+asaCapture, "configure terminal", " clear configure access-list "+asaList, "end", "show capture")
	return s
}

// asaLists are the access list and the capture for one end.
func (r *Report) asaLists(own, peer, here string) []string {
	icmp := "icmp"
	if r.v6() {
		icmp = "icmp6"
	}
	lines := []string{"configure terminal"}
	permit := func(format string, args ...any) {
		lines = append(lines, " access-list "+asaList+" extended permit "+fmt.Sprintf(format, args...))
	}
	for _, protocol := range []string{"udp", "esp", "ah"} {
		permit("%s host %s host %s", protocol, own, peer)
		permit("%s host %s host %s", protocol, peer, own)
	}
	permit("%s any host %s", icmp, here)
	return append(lines, "end", fmt.Sprintf("capture %s type raw-data access-list %s interface outside", asaCapture, asaList))
}
