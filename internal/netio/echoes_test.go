package netio

import (
	"math/rand/v2"
	"testing"
)

func newTestTable() *echoTable { return newEchoTable(rand.NewPCG(1, 2)) }

// TestSequenceNumbers: the cipher gives each place another number, and finds the place again.
func TestSequenceNumbers(t *testing.T) {
	table := newTestTable()
	var seen [1 << 16]bool
	successive := 0
	for place := range 1 << 16 {
		number := table.sequence(uint16(place))
		if seen[number] {
			t.Fatalf("number %d twice", number)
		}
		seen[number] = true
		if got := table.place(number); got != uint16(place) {
			t.Fatalf("place %d has number %d, whose place is %d", place, number, got)
		}
		if number-table.sequence(uint16(place-1)) == 1 {
			successive++
		}
	}
	if successive > 100 { // by chance, one or two
		t.Errorf("%d numbers are one more than the one before", successive)
	}
}

// TestEchoTable: what was entered is found until it is removed, more than once around.
func TestEchoTable(t *testing.T) {
	table := newTestTable()
	var all []*flight
	for range 3 << 16 {
		f := &flight{}
		table.add(f)
		if all = append(all, f); len(all) < 1000 {
			continue
		}
		oldest := all[0]
		all = all[1:]
		if table.find(oldest.seq) != oldest {
			t.Fatalf("number %d is not found", oldest.seq)
		}
		table.remove(oldest)
		if table.find(oldest.seq) != nil {
			t.Fatalf("number %d is found after its end", oldest.seq)
		}
	}
}

// TestFullEchoTable: where all numbers are taken, the newer echo has one, and the end of the older
// one does not end it.
func TestFullEchoTable(t *testing.T) {
	table := newTestTable()
	by := make(map[uint16]*flight)
	for range 1 << 16 {
		f := &flight{}
		table.add(f)
		by[f.seq] = f
	}
	if len(by) != 1<<16 {
		t.Fatalf("%d numbers for %d echoes", len(by), 1<<16)
	}
	newer := &flight{}
	table.add(newer)
	table.remove(by[newer.seq])
	if table.find(newer.seq) != newer {
		t.Error("the newer echo is not found")
	}
}
