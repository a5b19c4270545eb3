package netio

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// A recording is what a Recorder was shown.
type recording struct {
	mu  sync.Mutex
	all []shown
}

type shown struct {
	request Request
	wire    []byte
	answer  Answer
	reply   []byte
	before  Entry
}

func (r *recording) Record(q *Request, a *Answer, before Entry) Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, shown{*q, bytes.Clone(q.Wire), *a, bytes.Clone(a.Wire), before})
	return Entry{Number: 7, Detail: 8}
}

// message returns the ICMP message of an IP packet, and its addresses.
func message(t *testing.T, packet []byte, v6 bool) (m icmp.Message, src, dst string) {
	t.Helper()
	if v6 {
		h, rest, err := ip.ParseIPv6(packet)
		if err == nil {
			m, err = icmp.ParseIPv6(rest)
		}
		if err != nil || ip.PseudoChecksum(h.Src, h.Dst, ip.ProtocolICMPv6, rest) != 0 {
			t.Fatalf("%x: %v, or a wrong checksum", packet, err)
		}
		return m, h.Src.String(), h.Dst.String()
	}
	h, rest, err := ip.ParseIPv4(packet)
	if err != nil || !icmp.ValidIPv4(rest) || ip.Checksum(packet[:HeaderIPv4]) != 0 {
		t.Fatalf("%x: %v, or a wrong checksum", packet, err)
	}
	m, err = icmp.ParseIPv4(rest)
	if err != nil {
		t.Fatal(err)
	}
	return m, h.Src.String(), h.Dst.String()
}

// TestRecorder: it gets an echo as it was on the wire with its answer, whether it left at once or with
// others, and one that did not leave without a packet.
func TestRecorder(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		for _, deferred := range []bool{false, true} {
			r := &recording{}
			packet := echoOf(p.ServerAddr(v6), 300)
			packet.Recorder, packet.Deferred, packet.Purpose = r, deferred, "a test"
			done := make(chan Answer, 1)
			s.Send(t.Context(), packet, time.Second, func(a Answer) { done <- a })
			s.Flush()
			a := <-done
			r.mu.Lock()
			if len(r.all) != 1 {
				t.Fatalf("%d answers were shown, want 1", len(r.all))
			}
			got := r.all[0]
			r.mu.Unlock()
			request, src, dst := message(t, got.wire, v6)
			reply, from, to := message(t, got.reply, v6)
			if len(got.wire) != 300 || src != p.ClientAddr(v6).String() || dst != p.ServerAddr(v6).String() || from != dst || to != src {
				t.Errorf("deferred %v: %d bytes from %s to %s, answered from %s to %s", deferred, len(got.wire), src, dst, from, to)
			}
			if request.ID != reply.ID || request.Seq != reply.Seq || !bytes.Equal(request.Data, reply.Data) {
				t.Errorf("deferred %v: the reply to another request: %+v, %+v", deferred, request, reply)
			}
			q := &got.request
			if q.Purpose != "a test" || q.Size != 300 || !q.DontFragment || q.Timeout != time.Second || !q.At.Equal(a.Sent) || got.before != (Entry{}) {
				t.Errorf("deferred %v: request %+v after %+v", deferred, q, got.before)
			}
		}
		r := &recording{}
		packet := echoOf(p.ServerAddr(v6), 1501)
		packet.Recorder = r
		if a := probe(t, s, packet); a.Outcome != TooBigLocally || len(r.all) != 1 || len(r.all[0].wire) != 0 || r.all[0].answer.Outcome != TooBigLocally {
			t.Errorf("too big for the link: %+v, shown %+v", a, r.all)
		}
	})
}

// TestRecorderOfFurtherAnswers: the entry of the first answer comes back with the next one, without
// the request.
func TestRecorderOfFurtherAnswers(t *testing.T) {
	s := matching(t)
	r := &recording{}
	f := echoFlight(100)
	f.recorder, f.src, f.set = r, testSelf, &sockets{}
	launch(s, f)
	s.flights.expire(f.deadline)
	s.flights.settle(f, Answer{Outcome: Delivered}, reception{})
	if len(r.all) != 2 || len(r.all[0].wire) != 100 || r.all[0].answer.Outcome != Silent || len(r.all[1].wire) != 0 || r.all[1].before != (Entry{Number: 7, Detail: 8}) {
		t.Errorf("shown %+v", r.all)
	}
}
