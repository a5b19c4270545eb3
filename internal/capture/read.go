package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrFormat means that the bytes are no capture at all.
var ErrFormat = errors.New("neither pcap nor pcapng")

// A DamageError tells where a capture cannot be read on.
type DamageError struct {
	// Packet is the number of the packet that could not be read, from 1.
	Packet int
	// Offset is the byte at which it begins, in what was unpacked if the file is compressed.
	Offset int64
	// Err is what is wrong.
	Err error
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("packet %d, at byte %d: %v", e.Packet, e.Offset, e.Err)
}

// Unwrap returns what is wrong.
func (e *DamageError) Unwrap() error { return e.Err }

// A Frame is one captured frame.
type Frame struct {
	// Number counts the frames of the capture from 1.
	Number int
	// Time is when it was captured.
	Time time.Time
	// Link is the kind of the link, which tells how Data begins.
	Link layers.LinkType
	// Data is what was captured of it. It is overwritten by the next frame.
	Data []byte
}

// The first bytes of files.
const (
	magicGzip      = 0x1f8b     // RFC 1952, section 2.3.1
	magicPcap      = 0xa1b2c3d4 // draft-ietf-opsawg-pcap, section 4
	magicPcapNanos = 0xa1b23c4d
	magicPcapng    = 0x0a0d0d0a // draft-ietf-opsawg-pcapng, section 4.1: the same in both byte orders
)

const (
	// maxBesides is how many bytes of a file may be something else than packets, or belong to a single packet. The pcapng reader
	// keeps interfaces, names and secrets in memory, so this bounds its memory.
	maxBesides = 4 << 20
	// packetOverhead is what may stand around one packet.
	packetOverhead = 256
	bufferSize     = 64 << 10
)

var errTooMuch = errors.New("too much that is no packet")

// Read calls each for every frame of a capture: pcap or pcapng, also compressed by gzip. If it cannot read on, everything up to there
// has been handed out and the error is a DamageError; ErrFormat means that it could not begin.
func Read(r io.Reader, each func(*Frame)) error {
	r, err := unpacked(r)
	if err != nil {
		return err
	}
	counted := &meter{r: r, allowed: maxBesides}
	in := bufio.NewReaderSize(counted, bufferSize)
	next, err := open(in)
	if err != nil {
		return err
	}
	// The library takes a reader that is buffered already as it is, so this is where it stands.
	offset := func() int64 { return counted.n - int64(in.Buffered()) }
	for number := 1; ; number++ {
		at := offset()
		f, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &DamageError{Packet: number, Offset: at, Err: err}
		}
		f.Number = number
		counted.allowed += int64(len(f.Data)) + packetOverhead
		each(&f)
	}
}

// unpacked reads what is in r, compressed or not.
func unpacked(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	magic, err := in.Peek(2)
	switch {
	case len(magic) == 0 && errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it is empty", ErrFormat)
	case len(magic) < 2:
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	case binary.BigEndian.Uint16(magic) != magicGzip:
		return in, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return z, nil
}

// open reads the head of a file and returns what reads its frames, whose error is io.EOF only between two packets.
func open(in *bufio.Reader) (func() (Frame, error), error) {
	magic, err := in.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch first := binary.LittleEndian.Uint32(magic); {
	case first == magicPcapng:
		return openPcapng(in)
	case first == magicPcap || first == magicPcapNanos:
	case binary.BigEndian.Uint32(magic) == magicPcap || binary.BigEndian.Uint32(magic) == magicPcapNanos:
	default:
		return nil, fmt.Errorf("%w: it begins with %q", ErrFormat, magic)
	}
	r, err := pcapgo.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return func() (Frame, error) {
		if _, err := in.Peek(1); err != nil {
			return Frame{}, err
		}
		data, ci, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // there was a beginning of a packet
		}
		return Frame{Time: ci.Timestamp, Link: r.LinkType(), Data: data}, err
	}, nil
}

func openPcapng(in *bufio.Reader) (func() (Frame, error), error) {
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return func() (Frame, error) {
		data, ci, err := r.ZeroCopyReadPacketData()
		return Frame{Time: ci.Timestamp, Link: linkOf(ci), Data: data}, err
	}, nil
}

// linkOf is the kind of the link that a packet of a pcapng file comes from.
func linkOf(ci gopacket.CaptureInfo) layers.LinkType {
	for _, a := range ci.AncillaryData {
		if link, ok := a.(layers.LinkType); ok {
			return link
		}
	}
	return layers.LinkTypeMax
}

// A meter counts what is read, and ends where it is more than is allowed.
type meter struct {
	r          io.Reader
	n, allowed int64
}

// Read implements io.Reader.
func (m *meter) Read(b []byte) (int, error) {
	if m.n > m.allowed {
		return 0, errTooMuch
	}
	n, err := m.r.Read(b)
	m.n += int64(n)
	return n, err
}
