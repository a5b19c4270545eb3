package trace

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// A frame is one packet on its way into a file.
type frame struct {
	Packet
	inbound bool
	comment string
}

// frames returns the packets of exchanges in the order of time.
func frames(exchanges []Exchange) []frame {
	var all []frame
	for i := range exchanges {
		e := &exchanges[i]
		sent := e.What() + ": " + e.Result()
		for n, p := range e.Packets {
			comment := sent
			if total := len(e.Packets) + e.Omitted; total > 1 {
				comment = "fragment " + strconv.Itoa(n+1) + " of " + strconv.Itoa(total) + ": " + sent
			}
			all = append(all, frame{Packet: p, comment: comment})
		}
		for k := range e.Answers {
			a := &e.Answers[k]
			all = append(all, frame{Packet: a.Packet, inbound: true, comment: "answer to " + e.What() + ": " + e.outcome(a)})
		}
	}
	all = slices.DeleteFunc(all, func(f frame) bool { return len(f.Bytes) == 0 })
	slices.SortStableFunc(all, func(a, b frame) int { return cmp.Compare(nanoseconds(a.At), nanoseconds(b.At)) })
	return all
}

// WritePcapng writes the packets of exchanges as a pcapng file (draft-ietf-opsawg-pcapng) without
// link layer, with nanoseconds, and with a comment on each packet: what it tests, and the result.
// application is the name and version of this program.
func WritePcapng(w io.Writer, exchanges []Exchange, application string) error {
	path := pcapgo.NgInterface{Name: "path", LinkType: layers.LinkTypeRaw}
	section := pcapgo.NgSectionInfo{Application: application}
	ng, err := pcapgo.NewNgWriterInterface(w, path, pcapgo.NgWriterOptions{SectionInfo: section})
	if err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	for _, f := range frames(exchanges) {
		direction := pcapgo.NgEpbFlagDirectionOutbound
		if f.inbound {
			direction = pcapgo.NgEpbFlagDirectionInbound
		}
		info := gopacket.CaptureInfo{
			Timestamp: f.At, CaptureLength: len(f.Bytes), Length: max(f.Length, len(f.Bytes)),
		}
		options := pcapgo.NgPacketOptions{
			Comments: []string{f.comment}, Flags: &pcapgo.NgEpbFlags{Direction: direction},
		}
		if err := ng.WritePacketWithOptions(info, f.Bytes, options); err != nil {
			return fmt.Errorf("pcapng: %w", err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}
