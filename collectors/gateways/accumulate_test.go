package gateways

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// passed is a child with its packet counters.
func passed(id Identity, key string, in, out uint64) ChildSA {
	return ChildSA{Peer: id, Key: key, State: Installed, In: Traffic{Packets: Counted(in)}, Out: Traffic{Packets: Counted(out)}}
}

func TestCountersOverRekeys(t *testing.T) {
	id := at("192.0.2.1")
	peers := NewAttribution([]Peer{{Name: "hq", Address: id.Address}})
	a, now := NewAccumulator(), time.Unix(1000, 0)
	for _, step := range []struct {
		name     string
		children []ChildSA
		in, out  uint64
	}{
		{"the device's own value at first", []ChildSA{passed(id, "spi-1", 100, 10)}, 100, 10},
		{"growth", []ChildSA{passed(id, "spi-1", 150, 10)}, 150, 10},
		{"rekey: both for a while", []ChildSA{passed(id, "spi-1", 160, 10), passed(id, "spi-2", 5, 1)}, 165, 11},
		{"rekey: the old one is gone", []ChildSA{passed(id, "spi-2", 7, 2)}, 167, 12},
		{"missing in one reading", nil, 167, 12},
		{"back again", []ChildSA{passed(id, "spi-2", 9, 3)}, 169, 13},
		{"the device started again", []ChildSA{passed(id, "spi-2", 4, 1)}, 173, 14},
		{"two entries of one key", []ChildSA{passed(id, "spi-2", 4, 1), passed(id, "spi-2", 2, 2)}, 175, 16},
		{"counters unknown", []ChildSA{installed(id)}, 175, 16},
	} {
		now = now.Add(30 * time.Second)
		r := NewReading(&Table{Children: step.children}, peers, false)
		a.Add(&r, now)
		in, out := a.Traffic("hq")
		if in.Packets != Counted(step.in) || out.Packets != Counted(step.out) || in.Bytes.Known {
			t.Errorf("%s: in %+v, out %+v, want %d and %d packets", step.name, in, out, step.in, step.out)
		}
	}
}

func TestCountersThatGoOnOverARekey(t *testing.T) {
	id := at("192.0.2.1")
	peers := NewAttribution([]Peer{{Name: "hq", Address: id.Address}})
	a := NewAccumulator()
	for i, spi := range []string{"spi-1", "spi-2"} {
		c := passed(id, spi, uint64(100+i), 1)
		c.CounterKey = "10.0.0.0/8 to 10.1.0.0/16"
		r := NewReading(&Table{Children: []ChildSA{c}}, peers, false)
		a.Add(&r, time.Unix(int64(1000+i), 0))
	}
	if in, _ := a.Traffic("hq"); in.Packets != Counted(101) {
		t.Errorf("in: %+v", in)
	}
}

// TestLossesOverRekeys: what was lost and refused in an SA that has ended stays counted; what no SA
// counts is unknown.
func TestLossesOverRekeys(t *testing.T) {
	id := at("192.0.2.1")
	peers := NewAttribution([]Peer{{Name: "hq", Address: id.Address}})
	a, now := NewAccumulator(), time.Unix(1000, 0)
	for _, step := range []struct {
		key        string
		lost, late Count
		want       Count
		wantLate   Count
	}{
		{"spi-1", Count{}, Count{}, Count{}, Count{}},
		{"spi-2", Counted(0), Counted(0), Counted(0), Counted(0)},
		{"spi-2", Counted(3), Counted(1), Counted(3), Counted(1)},
		{"spi-3", Counted(2), Counted(0), Counted(5), Counted(1)},
		{"spi-4", Counted(4), Counted(2), Counted(9), Counted(3)},
		{"spi-4", Count{}, Count{}, Counted(9), Counted(3)},
	} {
		now = now.Add(30 * time.Second)
		sa := ChildSA{Peer: id, Key: step.key, Lost: step.lost}
		sa.Errors[Late] = step.late
		r := NewReading(&Table{Children: []ChildSA{sa}}, peers, false)
		a.Add(&r, now)
		if lost, errors := a.Losses("hq"); lost != step.want || errors[Late] != step.wantLate || errors[Integrity].Known {
			t.Errorf("%+v: lost %+v, errors %+v", step, lost, errors)
		}
	}
}

func TestDeviceCounters(t *testing.T) {
	a, now := NewAccumulator(), time.Unix(1000, 0)
	for _, step := range []struct {
		inside, outside, want uint64
	}{{3, 4, 7}, {3, 6, 9}, {0, 7, 10}, {1, 7, 11}} {
		r := NewReading(&Table{Counters: []DeviceCounter{
			{Kind: "fragment_timeout", Key: "inside", Value: step.inside}, {Kind: "fragment_timeout", Key: "outside", Value: step.outside},
		}}, NewAttribution(nil), false)
		a.Add(&r, now)
		if diff := cmp.Diff(map[string]uint64{"fragment_timeout": step.want}, a.Device()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestForgetting(t *testing.T) {
	known, stranger := at("192.0.2.1"), at("192.0.2.2")
	peers := NewAttribution([]Peer{{Name: "hq", Address: known.Address}})
	a, now := NewAccumulator(), time.Unix(1000, 0)
	both := NewReading(&Table{Children: []ChildSA{passed(known, "a", 1, 1), passed(stranger, "b", 1, 1)}}, peers, true)
	none := NewReading(&Table{}, peers, true)
	a.Add(&both, now)
	a.Add(&none, now.Add(forgetAfter+time.Second))
	if len(a.flows) != 0 {
		t.Errorf("%d counters are remembered", len(a.flows))
	}
	if in, _ := a.Traffic("hq"); in.Packets != Counted(1) {
		t.Errorf("a configured peer's counter is forgotten: %+v", in)
	}
	if in, _ := a.Traffic("192.0.2.2"); in.Packets.Known {
		t.Errorf("a stranger's counter is kept: %+v", in)
	}
}
