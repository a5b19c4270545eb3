//go:build linux

package netio

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Layout of struct xfrm_userpolicy_info (linux/xfrm.h), which names one IPsec policy.
const (
	policySize      = 168
	policyFamily    = 40 // sel.family, u16
	policyLimits    = 56 // lft: four u64 limits, then times
	policyDirection = 160
	policyDirIn     = 0 // XFRM_POLICY_IN
	policyDirOut    = 1 // XFRM_POLICY_OUT
)

// bypassPolicy exempts a socket from this host's IPsec policies in both directions, as IKE daemons
// do for their own: on a VPN gateway a probe to a peer must not be pulled into the tunnel to that
// peer. It needs CAP_NET_ADMIN.
func bypassPolicy(fd, level int) error {
	option, family := unix.IP_XFRM_POLICY, unix.AF_INET
	if level == unix.IPPROTO_IPV6 {
		option, family = unix.IPV6_XFRM_POLICY, unix.AF_INET6
	}
	for _, direction := range [...]byte{policyDirIn, policyDirOut} {
		var p [policySize]byte // action 0 is XFRM_POLICY_ALLOW, and no template follows: pass in the clear
		binary.NativeEndian.PutUint16(p[policyFamily:], uint16(family))
		for i := range 4 {
			binary.NativeEndian.PutUint64(p[policyLimits+8*i:], ^uint64(0)) // XFRM_INF
		}
		p[policyDirection] = direction
		if err := unix.SetsockoptString(fd, level, option, string(p[:])); err != nil {
			return fmt.Errorf("per-socket IPsec policy: %w", err)
		}
	}
	return nil
}
