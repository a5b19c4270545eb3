package trace

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/internal/netio"
)

// answered is an echo that was answered, the n-th of a peer.
func answered(n int) Exchange {
	when := began().Add(time.Duration(n) * 5003 * time.Millisecond)
	request := packet4(1, 84)
	request[4], request[5], request[27] = byte(n>>8), byte(n), byte(n)
	for i := range 8 {
		request[28+i] = byte(n * (31 + 2*i))
	}
	reply := slices.Clone(request)
	reply[4], reply[5], reply[8], reply[20] = byte(7*n), byte(3*n), 61, echoReply4
	copy(reply[12:20], append(slices.Clone(request[16:20]), request[12:16]...))
	trip := 20*time.Millisecond + time.Duration(n*n%1_000_000)
	return Exchange{
		Sent: when, Dst: peer4, Purpose: collectors.PurposeEcho, Size: 84, Timeout: 2 * time.Second,
		Packets: []Packet{{At: when, Length: 84, Bytes: request}},
		Answers: []Answer{{Outcome: netio.Delivered, From: peer4, RoundTrip: trip, TTL: 61, Packet: Packet{At: when.Add(trip), Length: 84, Bytes: reply}}},
	}
}

// unanswered is the same without an answer.
func unanswered(n int, purpose string) Exchange {
	e := answered(n)
	e.Purpose, e.Answers = purpose, []Answer{{Outcome: netio.Silent}}
	return e
}

const search = "path MTU by ike: does this size pass?"

// TestSizes: what an exchange takes that resembles others.
func TestSizes(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(n int) Exchange
		most int
	}{
		"answered echo":   {answered, 56},
		"unanswered echo": {func(n int) Exchange { return unanswered(n, collectors.PurposeEcho) }, 45},
	} {
		r := NewRecorder(DefaultBytes)
		g := r.Open()
		const n = 1000
		for i := range n {
			e := tt.make(i)
			g.Record(&e)
		}
		used := 0
		for _, chunks := range r.arena.used {
			used += chunks * chunkSize
		}
		t.Logf("%s: %d bytes", name, used/n)
		if used > n*tt.most {
			t.Errorf("%s: %d bytes, want at most %d", name, used/n, tt.most)
		}
	}
}

// TestRecordAllocatesNothing: echoes are recorded thousands of times in a second.
func TestRecordAllocatesNothing(t *testing.T) {
	g := NewRecorder(DefaultBytes).Open()
	e := answered(0)
	g.Record(&e)
	n := 0
	if got := testing.AllocsPerRun(slabChunks, func() {
		n++
		e.Sent = began().Add(time.Duration(n) * time.Second)
		g.Record(&e)
	}); got > 0 {
		t.Errorf("%v allocations for an echo", got)
	}
}

// TestKindsDoNotPushOutEachOther: whatever floods the memory of all peers, what it does not resemble
// stays.
func TestKindsDoNotPushOutEachOther(t *testing.T) {
	proof := Exchange{
		Sent: began(), Dst: peer4, Purpose: search, Protocol: netio.UDP, Port: 500, Size: 1401, DontFragment: true,
		Packets: []Packet{{At: began(), Length: 1401, Bytes: packet4(17, 1401)}}, Answers: []Answer{{Outcome: netio.Silent}},
	}
	passed := proof
	passed.Size, passed.Answers = 1400, []Answer{{Outcome: netio.Delivered, From: peer4, RoundTrip: time.Millisecond}}
	first := answered(0)
	kept := map[string]*Exchange{"a large packet that vanished": &proof, "one that passed": &passed, "an echo": &first}
	floods := map[string]func(n int) Exchange{
		"unanswered echoes": func(n int) Exchange { return unanswered(n, collectors.PurposeEcho) },
		"unanswered IKE":    func(n int) Exchange { return unanswered(n, collectors.PurposeIKE) },
		"answered IKE":      func(n int) Exchange { e := answered(n); e.Purpose = collectors.PurposeIKE; return e },
	}
	r := NewRecorder(LeastBytes)
	g := r.Open()
	for _, e := range kept {
		g.Record(e)
	}
	rings := []*Ring{g}
	for range 100 {
		rings = append(rings, r.Open())
	}
	for name, flood := range floods {
		for i := range 30_000 {
			e := flood(i)
			rings[i%len(rings)].Record(&e)
		}
		all := g.Exchanges()
		for what, e := range kept {
			if !slices.ContainsFunc(all, func(o Exchange) bool { return o.Purpose == e.Purpose && o.Size == e.Size && o.Sent.Equal(e.Sent) }) {
				t.Errorf("%s pushed out %s", name, what)
			}
		}
	}
}

// TestPeersDoNotPushOutEachOther: a peer that is recorded a thousand times as often as others takes
// no more of the memory than they leave.
func TestPeersDoNotPushOutEachOther(t *testing.T) {
	const quiet, exchanges = 200, 4
	r := NewRecorder(LeastBytes)
	rings := make([]*Ring, quiet)
	for i := range rings {
		rings[i] = r.Open()
		for n := range exchanges {
			e := unanswered(n, search)
			rings[i].Record(&e)
		}
	}
	noisy := []*Ring{r.Open(), r.Open()}
	for i := range 100_000 {
		e := unanswered(i, search)
		noisy[i%len(noisy)].Record(&e)
	}
	for i, g := range rings {
		if n := len(g.Exchanges()); n != exchanges {
			t.Fatalf("peer %d has %d exchanges left of %d", i, n, exchanges)
		}
	}
	for _, g := range noisy {
		if n := len(g.Exchanges()); n < 500 {
			t.Errorf("a noisy peer has %d exchanges", n)
		}
	}
}

// TestOneRing: a single peer takes its share of mostRing, not all of a large budget.
func TestOneRing(t *testing.T) {
	r := NewRecorder(DefaultBytes)
	g := r.Open()
	for i := range 100_000 {
		e := unanswered(i, search)
		g.Record(&e)
	}
	if most := mostRing * shares[searchFault] / wholeShare; r.arena.used[searchFault]*chunkSize > most {
		t.Errorf("%d bytes, want at most %d", r.arena.used[searchFault]*chunkSize, most)
	}
}

// hostile is an exchange of any shape: it resembles no other.
func hostile(random *rand.Rand) Exchange {
	packet := func() Packet {
		p := Packet{At: began(), Length: random.IntN(65536), Bytes: make([]byte, random.IntN(1600))}
		for i := range p.Bytes {
			p.Bytes[i] = byte(random.Uint32())
		}
		return p
	}
	e := Exchange{
		Sent: began().Add(time.Duration(random.Int64N(1e18))), Dst: netip.AddrFrom4([4]byte{10, byte(random.Uint32())}),
		Interface: strconv.Itoa(random.Int()), Protocol: netio.Protocol(random.IntN(4)), Port: uint16(random.Uint32()),
		Purpose: []string{collectors.PurposeEcho, collectors.PurposeIKE, search, strconv.Itoa(random.Int())}[random.IntN(4)],
	}
	for range random.IntN(20) {
		e.Packets = append(e.Packets, packet())
	}
	for range 1 + random.IntN(maxAnswers) {
		e.Answers = append(e.Answers, Answer{Outcome: netio.Outcome(1 + random.IntN(8)), From: router, Err: e.Interface, Packet: packet()})
	}
	return e
}

// TestBudget: the rings take no more than the package documentation says, whatever is recorded. The
// heap is measured, too.
func TestBudget(t *testing.T) {
	const budget, rings = 2 << 20, 3000
	if n := int(unsafe.Sizeof(Ring{}) + uintptr(kinds)*unsafe.Sizeof(chain{})); n > ringBytes {
		t.Errorf("a ring with its chains takes %d bytes, more than the %d that are counted", n, ringBytes)
	}
	var open []*Ring
	before := allocated()
	r := NewRecorder(budget)
	check := func(when string) {
		t.Helper()
		counted, measured := r.Bytes(), allocated()-before
		most := budget + workBytes + len(open)*ringBytes
		// The test keeps a pointer to each ring. Size classes of the allocator round up by an eighth.
		if slack := 24*cap(open) + len(open)*ringBytes/8; counted > most || measured > most+slack {
			t.Errorf("%s: %d rings take %d bytes, %d measured, want at most %d", when, len(open), counted, measured, most)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	mix := func(n int) {
		for i := range n {
			g, e := open[random.IntN(len(open))], hostile(random)
			switch random.IntN(8) {
			case 0, 1, 2:
				e = answered(i)
			case 3, 4:
				e = unanswered(i, search)
			case 5:
				g = open[0] // noisy
			}
			entry := g.Record(&e)
			g.Further(entry, &Answer{Outcome: netio.Delivered, Late: true, From: peer4})
		}
	}
	for range rings {
		open = append(open, r.Open())
	}
	check("empty rings")
	mix(30_000)
	check("a hostile mix")
	for _, g := range open[rings/2:] {
		g.Close()
	}
	open = slices.Clip(open[:rings/2])
	check("half of them closed")
	for range rings {
		open = append(open, r.Open())
	}
	mix(30_000)
	check("many new ones")
	for _, g := range open {
		g.Close()
		e := answered(1)
		g.Record(&e)
		g.Close()
		if len(g.Exchanges()) != 0 {
			t.Fatal("a closed ring has exchanges")
		}
	}
	open = nil
	if got := r.Bytes(); got > r.bases.most+workBytes {
		t.Errorf("%d bytes are left", got)
	}
	check("all closed")
}

// TestNothingKept: without a budget nothing is watched.
func TestNothingKept(t *testing.T) {
	r := NewRecorder(0)
	g := r.Open()
	s := &script{early: []netio.Answer{{Outcome: netio.NotSent, Err: errors.New("no route")}}}
	if got := g.Watch(s); got != s {
		t.Error("the network is watched")
	}
	e := answered(1)
	g.Further(g.Record(&e), &Answer{})
	if n := len(g.Exchanges()); n != 0 || r.Bytes() > workBytes+ringBytes {
		t.Errorf("%d exchanges, %d bytes", n, r.Bytes())
	}
	g.Close()
}

func BenchmarkRecord(b *testing.B) {
	g := NewRecorder(DefaultBytes).Open()
	all := make([]Exchange, 256)
	for i := range all {
		all[i] = answered(i)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		g.Record(&all[n%len(all)])
	}
}
