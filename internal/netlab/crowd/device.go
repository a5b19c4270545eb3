package crowd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DeviceName is the name of the TUN device.
const DeviceName = "peers0"

// queueLength is the queue of the device in packets. The default of 500 would drop the packets of a
// burst, which the exporter would take for loss of the path.
const queueLength = 50_000

// A Crowd is a World behind a TUN device of this process's network namespace.
type Crowd struct {
	*World

	device    *os.File
	wheel     *wheel
	residence residence
	workers   sync.WaitGroup
	mu        sync.Mutex
	err       error
}

// Start creates the device with its addresses and routes, and simulates until ctx ends. It needs
// CAP_NET_ADMIN.
func Start(ctx context.Context, c Config) (*Crowd, error) {
	w, err := NewWorld(c)
	if err != nil {
		return nil, err
	}
	device, err := OpenTUN(DeviceName)
	if err != nil {
		return nil, err
	}
	if err := w.config.setUp(DeviceName); err != nil {
		return nil, errors.Join(err, device.Close())
	}
	crowd := &Crowd{World: w, device: device, wheel: newWheel()}
	context.AfterFunc(ctx, func() { device.Close() })
	crowd.workers.Go(func() { crowd.wheel.run(ctx, crowd.write) })
	crowd.workers.Go(func() { crowd.read(ctx) })
	return crowd, nil
}

// Wait returns when the simulation has ended, with the error that ended it before its context did.
func (c *Crowd) Wait() error {
	c.workers.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Residence returns how long replies took since the start or the last ResetResidence.
func (c *Crowd) Residence() []ResidenceCount { return c.residence.counts() }

// ResetResidence begins again to measure how long replies take.
func (c *Crowd) ResetResidence() { c.residence.reset() }

func (c *Crowd) read(ctx context.Context) {
	b := make([]byte, 1<<16)
	for {
		n, err := c.device.Read(b)
		if err != nil {
			if ctx.Err() == nil {
				c.mu.Lock()
				c.err = fmt.Errorf("read from %s: %w", DeviceName, err)
				c.mu.Unlock()
			}
			return
		}
		read := time.Now()
		c.Handle(b[:n], func(packet []byte, delay time.Duration) {
			if delay < tick {
				c.write(held{packet, read})
				return
			}
			c.wheel.hold(packet, read, delay)
		})
	}
}

func (c *Crowd) write(h held) {
	// The residence ends before the write: the kernel delivers the packet within the call.
	c.residence.add(time.Since(h.read))
	if _, err := c.device.Write(h.packet); err != nil {
		c.count(WriteErrors)
		return
	}
	c.count(Sent)
}

// OpenTUN creates a TUN device. It exists until the file is closed.
func OpenTUN(name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (load the module tun)", path, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil // after the ioctl: only then can the runtime poll it
}

// setUp gives the device its addresses and the routes to the peers.
func (c *Config) setUp(device string) error {
	link, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.LinkSetMTU(link, DefaultMTU)
	}
	if err == nil {
		err = netlink.LinkSetTxQLen(link, queueLength)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	for family, prefix := range c.prefixes() {
		local, router := local4, router4
		if family == 1 {
			local, router = local6, router6
		}
		address := &netlink.Addr{IPNet: network(netip.PrefixFrom(local, local.BitLen())), Flags: unix.IFA_F_NODAD}
		err = errors.Join(err, netlink.AddrReplace(link, address))
		for _, dst := range []netip.Prefix{prefix, netip.PrefixFrom(router, router.BitLen()-5).Masked()} {
			err = errors.Join(err, netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: network(dst), Src: local.AsSlice()}))
		}
	}
	if err != nil {
		return fmt.Errorf("set up %s: %w", device, err)
	}
	return nil
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
