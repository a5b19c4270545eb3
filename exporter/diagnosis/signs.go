package diagnosis

import "ipsec_path_exporter/collectors"

// MayBeDead reports whether echoes are silent and no IKE message was answered since: the answers known
// may be from before the peer died. A ladder would take the packets that show the silence.
func (f *Facts) MayBeDead() bool {
	echo, ike := f.silent(collectors.ICMP), f.speaksIKE()
	return echo.state == Holds && (ike.state != Holds || !ike.at.After(echo.at))
}
