package daemons

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"ipsec_path_exporter/internal/netlab"
)

// Requirements of an EZVPN client: IKEv1 in aggressive mode with a group secret, then XAUTH, then
// mode config.
const (
	Group    = "vpngroup"
	User     = "joe"
	Password = "passwordofjoe"
)

// AggressivePSK is the setting that enables aggressive mode with pre-shared keys in charon.
const AggressivePSK = "i_dont_care_about_security_and_use_aggressive_mode_psk = yes\n"

// ezvpnServer is the swanctl.conf of a hub: address, protected network, group identity, pool,
// secrets.
const ezvpnServer = `connections {
  ezvpn {
    version = 1
    aggressive = yes
    proposals = aes256-sha1-modp1024,aes128-sha1-modp1024,3des-sha1-modp1024
    local_addrs = %[1]s
    pools = ezpool
    local {
      auth = psk
      id = %[1]s
    }
    remote {
      auth = psk
      id = "@#%[3]x"
    }
    remote-xauth {
      auth = xauth
    }
    children {
      net {
        local_ts = %[2]s
        esp_proposals = aes128-sha1,aes256-sha1,3des-sha1
      }
    }
  }
}
pools {
  ezpool {
    addrs = 10.98.0.0/24
  }
}
secrets {
  ike-group {
    secret = %[4]q
  }
  xauth-user {
    id = %[5]s
    secret = %[6]q
  }
}
`

// ezvpnClient is the swanctl.conf of a client: own address, hub, protected network there, group
// identity, user, secrets.
const ezvpnClient = `connections {
  ezvpn {
    version = 1
    aggressive = yes
    proposals = aes256-sha1-modp1024
    local_addrs = %[1]s
    remote_addrs = %[2]s
    vips = 0.0.0.0
    local {
      auth = psk
      id = "@#%[4]x"
    }
    local-xauth {
      auth = xauth
      xauth_id = %[5]s
    }
    remote {
      auth = psk
      id = %[2]s
    }
    children {
      net {
        remote_ts = %[3]s
        esp_proposals = aes128-sha1
      }
    }
  }
}
secrets {
  ike-group {
    secret = %[6]q
  }
  xauth-user {
    id = %[5]s
    secret = %[7]q
  }
}
`

// EZVPNServer returns the swanctl.conf of a hub for EZVPN clients. It needs AggressivePSK.
func EZVPNServer(local netip.Addr) string {
	return fmt.Sprintf(ezvpnServer, local, Protected(local), Group, Secret, User, Password)
}

// EZVPNClient returns the swanctl.conf of an EZVPN client. It needs AggressivePSK, and
// "install_virtual_ip = yes" to install its address.
func EZVPNClient(local, hub netip.Addr) string {
	return fmt.Sprintf(ezvpnClient, local, hub, Protected(hub), Group, User, Secret, Password)
}

// AddProtected adds the first address of the protected network to the namespace and returns it.
func AddProtected(t netlab.T, n *netlab.NS, gateway netip.Addr) netip.Addr {
	t.Helper()
	inside := Protected(gateway).Addr().Next()
	lo, err := n.Netlink().LinkByName("lo")
	if err == nil {
		err = n.Netlink().AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(inside.AsSlice())})
	}
	if err != nil {
		t.Fatalf("protected address: %v", err)
	}
	return inside
}
