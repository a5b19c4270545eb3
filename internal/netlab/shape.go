package netlab

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What Shape allows in one go and in its queue, in bytes: one full packet, and two.
const (
	shapeBurst = 1600
	shapeQueue = 3000
)

// Shape limits what the client sends to a rate in bytes per second, by a token bucket with a short
// queue (tc-tbf(8)); 0 ends the limit.
func (p *Provider) Shape(t T, rate uint64) {
	t.Helper()
	if err := p.Client.shape(p.segments[clientSegment].near.Name, rate); err != nil {
		t.Fatalf("%v", err)
	}
}

func (n *NS) shape(device string, rate uint64) error {
	link, err := n.link.LinkByName(device)
	if err != nil {
		return fmt.Errorf("shape %s: %w", device, err)
	}
	q := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate, Limit: shapeQueue, Buffer: uint32(float64(shapeBurst) / float64(max(rate, 1)) * netlink.TickInUsec() * 1e6),
	}
	if rate == 0 {
		if err := n.link.QdiscDel(q); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unshape %s: %w", device, err)
		}
		return nil
	}
	if err := n.link.QdiscReplace(q); err != nil {
		return fmt.Errorf("shape %s: %w", device, err)
	}
	return nil
}
