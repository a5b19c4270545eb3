package daemons

import (
	"fmt"
	"net/netip"
	"os"

	"ipsec_path_exporter/internal/netlab"
)

// vpncConf is the configuration of a client: hub, group, secrets. ESP is always in UDP, because
// charon's own ESP requires it.
const vpncConf = `IPSec gateway %s
IPSec ID %s
IPSec secret %s
Xauth username %s
Xauth password %s
IKE Authmode psk
IKE DH Group dh2
NAT Traversal Mode force-natt
Interface name vpn0
`

// A VPNC is a running vpnc, a client that behaves like Cisco's.
type VPNC struct{ *daemon }

// NeedVPNC skips the test if vpnc is missing.
func NeedVPNC(t netlab.T) {
	t.Helper()
	netlab.Need(t)
	if _, err := find("vpnc", "/usr/sbin/vpnc"); err != nil {
		missing(t, err)
	}
}

// StartVPNC starts an EZVPN client of the hub. It neither waits for the tunnel nor uses it.
func StartVPNC(t netlab.T, n *netlab.NS, hub netip.Addr) *VPNC {
	t.Helper()
	NeedVPNC(t)
	vpnc, err := find("vpnc", "/usr/sbin/vpnc")
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := t.TempDir()
	conf := write(t, dir, "vpnc.conf", fmt.Sprintf(vpncConf, hub, Group, Secret, User, Password))
	script := write(t, dir, "script", "#!/bin/sh\nexit 0\n")
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	return &VPNC{daemon: start(t, n, program{
		name: "vpnc", dir: dir,
		args: []string{vpnc, "--no-detach", "--script", script, "--pid-file", "/run/vpnc.pid", "--local-port", "0", conf},
	})}
}
