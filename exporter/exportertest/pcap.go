package exportertest

import (
	"errors"
	"io"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
)

// CountPackets reads a pcapng file and returns the number of its packets.
func CountPackets(tb testing.TB, r io.Reader) (n int) {
	tb.Helper()
	file, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		tb.Fatal(err)
	}
	for ; ; n++ {
		if _, _, err := file.ReadPacketData(); errors.Is(err, io.EOF) {
			return n
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}
