package daemons

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"ipsec_path_exporter/internal/netlab"
)

// A StrongSwan is the configuration of a charon.
type StrongSwan struct {
	// Conn is its swanctl.conf; empty leaves charon without any connection.
	Conn string
	// Charon holds further lines for the charon section of strongswan.conf, such as thresholds.
	Charon string
	// Libipsec makes charon process ESP itself, through a TUN device, on kernels without ESP. The
	// namespace needs an address in the protected network.
	Libipsec bool
}

// A Charon is a running strongSwan daemon.
type Charon struct {
	*daemon
	swanctl string
	env     []string
	conn    string // the file with its connections
}

// strongSwanConf is the strongswan.conf: further lines, plugins, log file. Nothing of the host is
// included.
const strongSwanConf = `charon {
  install_routes = no
  install_virtual_ip = no
  %s
  load = random nonce aes sha1 sha2 md5 hmac kdf gmp curve25519 openssl pem pkcs1 x509 pubkey %s socket-default vici xauth-generic unity attr updown counters
  plugins {
    vici {
      socket = unix:///run/charon.vici
    }
  }
  filelog {
    file {
      path = %s
      default = 1
      flush_line = yes
      time_format = %%H:%%M:%%S
    }
  }
}
swanctl {
  load = pem pkcs1 x509 pubkey openssl
}
`

// peerConn is the swanctl.conf of one end of a tunnel: version, proposals, local and remote
// address, local and remote address as identities, local and remote network, secret.
const peerConn = `connections {
  peer {
    version = %d
    proposals = aes256-sha256-modp2048,aes128gcm16-prfsha256-ecp256
    local_addrs = %s
    remote_addrs = %s
    local {
      auth = psk
      id = %s
    }
    remote {
      auth = psk
      id = %s
    }
    children {
      net {
        local_ts = %s
        remote_ts = %s
      }
    }
  }
}
secrets {
  ike-peer {
    secret = %q
  }
}
`

// Secret is the pre-shared key of every configuration here, long enough for every daemon.
const Secret = "labsecretlabsecretlabsecretlabsecret"

// ConnName is the name of the connection in the configurations here.
const ConnName = "peer"

// StrongSwanPeer returns a swanctl.conf with one connection between two addresses, of IKE version 1
// or 2.
func StrongSwanPeer(version int, local, remote netip.Addr) string {
	return fmt.Sprintf(peerConn, version, local, remote, local, remote, Protected(local), Protected(remote), Secret)
}

// Protected returns the network behind an address in the configurations here: 10.99.N.0/24 or
// fd99:N::/64, where N is the third byte of an IPv4 address or the second group of an IPv6 address.
func Protected(a netip.Addr) netip.Prefix {
	if a.Is6() {
		b := a.As16()
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x99, b[2], b[3]}), 64)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, a.As4()[2], 0}), 24)
}

// NeedStrongSwan skips the test if charon or swanctl is missing.
func NeedStrongSwan(t netlab.T) {
	t.Helper()
	netlab.Need(t)
	if _, _, err := strongSwanPrograms(); err != nil {
		missing(t, err)
	}
}

func strongSwanPrograms() (charon, swanctl string, err error) {
	if charon, err = find("/usr/lib/ipsec/charon", "/usr/libexec/ipsec/charon", "/usr/libexec/strongswan/charon"); err != nil {
		return "", "", err
	}
	swanctl, err = find("swanctl", "/usr/sbin/swanctl")
	return charon, swanctl, err
}

// StartStrongSwan starts charon in the namespace, loads its connections and waits until it serves
// them.
func StartStrongSwan(t netlab.T, n *netlab.NS, s StrongSwan) *Charon {
	t.Helper()
	NeedStrongSwan(t)
	charon, swanctl, err := strongSwanPrograms()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := t.TempDir()
	kernel := "kernel-netlink"
	if s.Libipsec {
		kernel = "kernel-libipsec kernel-netlink"
	}
	conf := write(t, dir, "strongswan.conf",
		fmt.Sprintf(strongSwanConf, s.Charon, kernel, filepath.Join(dir, "charon.log")))
	c := &Charon{swanctl: swanctl, env: []string{"STRONGSWAN_CONF=" + conf}}
	if s.Conn != "" {
		c.conn = write(t, dir, "swanctl.conf", s.Conn)
	}
	c.daemon = start(t, n, program{name: "charon", args: []string{charon}, env: c.env, dir: dir})
	c.load(t)
	return c
}

// load waits until the daemon answers and loads its connections.
func (c *Charon) load(t netlab.T) {
	t.Helper()
	c.await(t, "answer on VICI", func() bool {
		_, err := c.Swanctl("--version", "--daemon")
		return err == nil
	})
	if c.conn != "" {
		if _, err := c.Swanctl("--load-all", "--file", c.conn); err != nil {
			t.Fatalf("load connections: %v", err)
		}
	}
}

// Stop ends the daemon, which deletes its SAs at its peers.
func (c *Charon) Stop(t netlab.T) {
	t.Helper()
	c.stop(t)
}

// Restart starts the daemon after Stop, at the same socket.
func (c *Charon) Restart(t netlab.T) {
	t.Helper()
	c.run(t)
	c.load(t)
}

// InitiateChild makes the daemon set up a child SA and reports whether it succeeded within some
// seconds.
func (c *Charon) InitiateChild(t netlab.T, child string, seconds int) bool {
	t.Helper()
	out, err := c.Swanctl("--initiate", "--child", child, "--timeout", strconv.Itoa(seconds))
	if err != nil {
		t.Logf("initiate: %s", out)
	}
	return err == nil
}

// Socket returns the path of the VICI socket.
func (c *Charon) Socket() string { return filepath.Join(c.runDir, "charon.vici") }

// Swanctl runs a swanctl command against the daemon.
func (c *Charon) Swanctl(args ...string) (string, error) {
	return output(c.env, append(append([]string{c.swanctl}, args...), "--uri", "unix://"+c.Socket())...)
}

// HalfOpen returns the number of unfinished IKE SAs.
func (c *Charon) HalfOpen(t netlab.T) int {
	t.Helper()
	stats, err := c.Swanctl("--stats")
	if err != nil {
		t.Fatalf("%v", err)
	}
	m := regexp.MustCompile(`IKE_SAs: \d+ total, (\d+) half-open`).FindStringSubmatch(stats)
	if m == nil {
		t.Fatalf("no count of half-open SAs in:\n%s", stats)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatalf("%v", err)
	}
	return n
}

// Initiate makes the daemon initiate ConnName and reports whether an IKE SA was established.
func (c *Charon) Initiate(t netlab.T) bool {
	t.Helper()
	if out, err := c.Swanctl("--initiate", "--ike", ConnName, "--timeout", "10"); err != nil {
		t.Logf("initiate: %s", out)
	}
	return c.Established(t)
}

// Established reports whether the daemon has an established IKE SA of ConnName.
func (c *Charon) Established(t netlab.T) bool {
	t.Helper()
	sas, err := c.Swanctl("--list-sas", "--ike", ConnName)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return strings.Contains(sas, "ESTABLISHED")
}
