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

// A DamageError says where a capture cannot be read on.
type DamageError struct {
	Packet int   // number of the packet that could not be read, from 1
	Offset int64 // byte at which it starts, after decompression
	Err    error // cause
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("packet %d, at byte %d: %v", e.Packet, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// A Frame is one captured frame.
type Frame struct {
	Number int // from 1
	Time   time.Time
	// Shifted reports that the file has a time beyond the year 9999, and Time another in its place.
	Shifted bool
	Link    layers.LinkType // determines how Data starts
	Data    []byte          // captured part, overwritten by the next frame
}

// The first bytes of files.
const (
	magicGzip   = 0x1f8b     // RFC 1952, section 2.3.1
	magicPcapng = 0x0a0d0d0a // draft-ietf-opsawg-pcapng, section 4.1: the same in both byte orders
)

const (
	// maxOtherBytes bounds the bytes of a file that are not packets: the pcapng reader keeps some in
	// memory.
	maxOtherBytes  = 4 << 20
	packetOverhead = 256 // around one packet
	bufferSize     = 64 << 10
)

var errTooMuch = errors.New("too many bytes that are not packets")

// Read calls each for every frame of a capture: pcap or pcapng, also compressed by gzip. If it
// cannot read on, everything up to there has been handed out and the error is a DamageError;
// ErrFormat means that it could not begin.
func Read(r io.Reader, each func(*Frame)) error {
	r, err := unpacked(r)
	if err != nil {
		return err
	}
	counted := &meter{r: r, allowed: maxOtherBytes}
	in := bufio.NewReaderSize(counted, bufferSize)
	next, err := open(in)
	if err != nil {
		return err
	}
	// The library uses a buffered reader without wrapping it, so this is its position.
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
		f.Time, f.Shifted = ordinary(f.Time)
		counted.allowed += int64(len(f.Data)) + packetOverhead
		each(&f)
	}
}

// endOfTime is the start of the year 10000, in seconds: JSON has no later times (RFC 3339, section
// 5.6).
const endOfTime = 253_402_300_800

// ordinary moves a time beyond what can be printed by a multiple of the time that can be, so that
// differences stay.
func ordinary(t time.Time) (time.Time, bool) {
	s := t.Unix()
	if s >= 0 && s < endOfTime {
		return t, false
	}
	return time.Unix((s%endOfTime+endOfTime)%endOfTime, int64(t.Nanosecond())).UTC(), true
}

// unpacked returns the content of r, decompressed if need be.
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

// open reads the head of a file and returns the reader of its frames.
func open(in *bufio.Reader) (func() (Frame, error), error) {
	magic, err := in.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if binary.BigEndian.Uint32(magic) == magicPcapng {
		return openPcapng(in)
	}
	if order, m := pcapOrder(magic); order != nil {
		return openPcap(in, order, m)
	}
	return nil, fmt.Errorf("%w: it starts with %q", ErrFormat, magic)
}

func openPcapng(in *bufio.Reader) (func() (Frame, error), error) {
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return func() (Frame, error) {
		data, ci, err := r.ZeroCopyReadPacketData()
		return Frame{Time: ci.Timestamp, Link: interfaceOf(ci), Data: data}, err
	}, nil
}

// interfaceOf is the kind of the link that a packet of a pcapng file comes from.
func interfaceOf(ci gopacket.CaptureInfo) layers.LinkType {
	for _, a := range ci.AncillaryData {
		if link, ok := a.(layers.LinkType); ok {
			return link
		}
	}
	return layers.LinkTypeMax
}

// A meter counts the bytes read, and fails above its limit.
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
