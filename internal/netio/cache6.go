//go:build linux

package netio

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cleanDelay is how long after a "packet too big" its entry in the path MTU cache is removed: the
// kernel hands the message to raw sockets before it makes the entry.
const cleanDelay = 50 * time.Millisecond

// cleanCache removes the entry that an ICMPv6 "packet too big" for one of our echoes left in this
// host's path MTU cache. The kernel caches it regardless of socket options (icmpv6_err), and this
// host's own traffic would use the smaller MTU for ten minutes after the path has recovered. An
// older entry is not ours and stays. Without CAP_NET_ADMIN ours stays too.
func (s *Stack) cleanCache(f *flight) {
	if !f.cacheWasClean {
		return
	}
	path := Path{Dst: f.dst, Src: f.src, Interface: f.set.device}
	s.mu.Lock()
	busy := s.cleaning[path.Dst]
	s.cleaning[path.Dst] = true
	s.mu.Unlock()
	if busy {
		return
	}
	s.wg.Go(func() {
		pause(s.ctx, cleanDelay)
		s.mu.Lock()
		delete(s.cleaning, path.Dst)
		s.mu.Unlock()
		for _, at := range s.cachedAt(path) {
			if err := s.routes.uncache(at); err != nil {
				s.cfg.Log.Debug("path MTU cache entry could not be removed", "dst", path.Dst, "err", err)
			}
		}
	})
}

// cacheClean reports whether this host has no path MTU of its own for a peer.
func (s *Stack) cacheClean(p Path) bool {
	return !slices.ContainsFunc(s.cachedAt(p), func(at Path) bool {
		r, err := s.Route(at)
		return err == nil && r.CachedMTU != 0
	})
}

// cachedAt returns the paths at whose routes the kernel may make an entry for an echo on a path. It
// looks them up by the addresses of the quote, without a mark, and once more for the interface of a
// socket that is bound to one; what finds another route depends on the policy rules of this host.
func (s *Stack) cachedAt(p Path) []Path {
	at := []Path{{Dst: p.Dst}}
	if p.Interface != "" {
		at = append(at, Path{Dst: p.Dst, Interface: p.Interface})
	}
	src := p.Src
	if !src.IsValid() {
		if r, err := s.Route(at[len(at)-1]); err == nil {
			src = r.Src
		}
	}
	if src.IsValid() {
		for _, one := range at {
			one.Src = src
			at = append(at, one)
		}
	}
	return at
}

// uncache removes the cached route of an IPv6 path, not the route that it was made from
// (RTM_F_CLONED, rtnetlink(7)).
func (r *routes) uncache(at Path) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.cache {
		if p.Dst == at.Dst {
			delete(r.cache, p)
		}
	}
	q, err := r.question(at)
	if err != nil {
		return err
	}
	f, err := r.ask(q)
	if err != nil {
		return fmt.Errorf("route to %s: %w", at, err)
	}
	err = r.handle.RouteDel(&netlink.Route{
		Dst:       &net.IPNet{IP: at.Dst.AsSlice(), Mask: net.CIDRMask(at.Dst.BitLen(), at.Dst.BitLen())},
		LinkIndex: f.link, Table: f.table, Flags: unix.RTM_F_CLONED,
	})
	if err != nil && !errors.Is(err, unix.ESRCH) { // several paths may have one entry, or none
		return fmt.Errorf("cached route to %s: %w", at, err)
	}
	return nil
}
