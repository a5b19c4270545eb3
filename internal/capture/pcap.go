package capture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// The first bytes of pcap files (draft-ietf-opsawg-pcap, section 4).
const (
	magicPcap         = 0xa1b2c3d4
	magicPcapNanos    = 0xa1b23c4d
	magicPcapModified = 0xa1b2cd34 // Kuznetzov's, with 8 bytes more per record
)

const (
	lengthPcapHeader = 24
	lengthRecord     = 16
	pcapMajor        = 2
	// Records of versions before 2.3 have both lengths in the other order, of 2.3 in either.
	pcapSwapped, pcapEither = 2, 3
	// minSnapLength is the least limit of a record: some writers exceed the limit that they name.
	minSnapLength = 1 << 18
)

// pcapReader reads the records of a pcap file.
type pcapReader struct {
	in     *bufio.Reader
	order  binary.ByteOrder
	minor  uint16
	snap   uint32
	link   layers.LinkType
	unit   int64 // nanoseconds of the second half of a time
	header []byte
	data   bytes.Buffer
}

// pcapOrder returns the byte order of a pcap file, nil if magic starts no such file.
func pcapOrder(magic []byte) (binary.ByteOrder, uint32) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch m := order.Uint32(magic); m {
		case magicPcap, magicPcapNanos, magicPcapModified:
			return order, m
		}
	}
	return nil, 0
}

func openPcap(in *bufio.Reader, order binary.ByteOrder, magic uint32) (func() (Frame, error), error) {
	var h [lengthPcapHeader]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if major := order.Uint16(h[4:]); major != pcapMajor {
		return nil, fmt.Errorf("%w: pcap of version %d", ErrFormat, major)
	}
	r := &pcapReader{
		in: in, order: order, minor: order.Uint16(h[6:]), snap: order.Uint32(h[16:]), link: layers.LinkType(order.Uint32(h[20:])),
		unit: int64(time.Microsecond), header: make([]byte, lengthRecord),
	}
	switch magic {
	case magicPcapNanos:
		r.unit = 1
	case magicPcapModified:
		r.header = make([]byte, lengthRecord+8)
	}
	return r.next, nil
}

func (r *pcapReader) next() (Frame, error) {
	if _, err := r.in.Peek(1); err != nil {
		return Frame{}, err
	}
	if _, err := io.ReadFull(r.in, r.header); err != nil {
		return Frame{}, early(err)
	}
	captured, length := r.order.Uint32(r.header[8:]), r.order.Uint32(r.header[12:])
	if r.minor <= pcapSwapped || r.minor == pcapEither && captured > length {
		captured, length = length, captured
	}
	switch {
	case captured > max(r.snap, minSnapLength):
		return Frame{}, fmt.Errorf("capture length exceeds snap length: %d > %d", captured, r.snap)
	case captured > length:
		return Frame{}, fmt.Errorf("capture length exceeds original packet length: %d > %d", captured, length)
	}
	r.data.Reset()
	if _, err := io.CopyN(&r.data, r.in, int64(captured)); err != nil {
		return Frame{}, early(err)
	}
	at := time.Unix(int64(r.order.Uint32(r.header)), int64(r.order.Uint32(r.header[4:]))*r.unit).UTC()
	return Frame{Time: at, Link: r.link, Data: r.data.Bytes()}, nil
}

// early is the error of a record that has no end.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
