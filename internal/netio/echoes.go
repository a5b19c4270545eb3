//go:build linux

package netio

const (
	// pageBits is the number of bits of a sequence number that choose a place on a page.
	pageBits = 8
	pages    = 1 << (16 - pageBits)
	pageSize = 1 << pageBits
	// seekEchoes bounds the search for a number that no echo has.
	seekEchoes = 64
	// rounds of the cipher of sequence numbers.
	rounds = 4
)

// An echoTable finds the echoes of a flow by their sequence numbers. Numbers are given out in turn, so
// that the table is used from one end to the other and stays in the caches of the processor, but a
// cipher makes them: who knows some of them, because echoes reach him, cannot tell the others.
//
//	turn ──cipher──▶ sequence number of the request = that of the reply ──inverse──▶ place
type echoTable struct {
	pages [pages]*[pageSize]*flight
	turn  uint16
	boxes [rounds][1 << 8]uint8
}

func newEchoTable(random interface{ Uint64() uint64 }) *echoTable {
	t := &echoTable{turn: uint16(random.Uint64())}
	for r := range t.boxes {
		for i := range t.boxes[r] {
			t.boxes[r][i] = uint8(random.Uint64())
		}
	}
	return t
}

// sequence is the sequence number of a place: a Feistel network over the two bytes.
func (t *echoTable) sequence(place uint16) uint16 {
	left, right := uint8(place>>8), uint8(place)
	for r := range rounds {
		left, right = right, left^t.boxes[r][right]
	}
	return uint16(left)<<8 | uint16(right)
}

// place is the inverse of sequence.
func (t *echoTable) place(sequence uint16) uint16 {
	left, right := uint8(sequence>>8), uint8(sequence)
	for r := rounds - 1; r >= 0; r-- {
		left, right = right^t.boxes[r][left], left
	}
	return uint16(left)<<8 | uint16(right)
}

// add enters an echo and gives it a sequence number. If all are taken, the older echo is lost.
func (t *echoTable) add(f *flight) {
	for range seekEchoes {
		t.turn++
		if t.at(t.turn) == nil {
			break
		}
	}
	page := &t.pages[t.turn>>pageBits]
	if *page == nil {
		*page = new([pageSize]*flight)
	}
	(*page)[t.turn%pageSize] = f
	f.seq = t.sequence(t.turn)
}

func (t *echoTable) at(place uint16) *flight {
	page := t.pages[place>>pageBits]
	if page == nil {
		return nil
	}
	return page[place%pageSize]
}

// find returns the echo with a sequence number.
func (t *echoTable) find(sequence uint16) *flight { return t.at(t.place(sequence)) }

// remove forgets an echo.
func (t *echoTable) remove(f *flight) {
	if at := t.place(f.seq); t.at(at) == f {
		t.pages[at>>pageBits][at%pageSize] = nil
	}
}
