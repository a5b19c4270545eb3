package volley_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/volley"
)

// A script answers probes in the order of sending.
type script []netio.Answer

func (s *script) Send(_ context.Context, _ *netio.Packet, timeout time.Duration, answer func(netio.Answer)) {
	a := (*s)[0]
	*s = (*s)[1:]
	go func() {
		if a.Outcome == netio.Silent {
			time.Sleep(timeout)
		}
		answer(a)
	}()
}

func fire(t *testing.T, answers script, accept func(*netio.Answer) bool) ([]*volley.Shot, error) {
	t.Helper()
	shots := make([]*volley.Shot, len(answers))
	for i := range shots {
		shots[i] = &volley.Shot{Packet: &netio.Packet{}, Accept: accept}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := volley.Fire(ctx, &answers, shots, 10*time.Millisecond, time.Second)
	return shots, err
}

// TestReplyThatIsNone: a reply that is not accepted is the only answer that comes; waiting for
// another would never end.
func TestReplyThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shots, err := fire(t, script{{Outcome: netio.Delivered}, {Outcome: netio.Refused}}, func(*netio.Answer) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if got := shots[0].Answer().Outcome; got != netio.Silent {
			t.Errorf("a reply that is none counts as %v", got)
		}
		if got := shots[1].Answer().Outcome; got != netio.Refused {
			t.Errorf("a refusal counts as %v", got)
		}
	})
}

// TestNotSent: what did not leave is reported, and the others are known nevertheless.
func TestNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no route")
		shots, err := fire(t, script{{Outcome: netio.NotSent, Err: broken}, {Outcome: netio.Delivered}, {Outcome: netio.Silent}}, nil)
		if !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		for i, want := range []netio.Outcome{netio.NotSent, netio.Delivered, netio.Silent} {
			if got := shots[i].Answer().Outcome; got != want {
				t.Errorf("shot %d: %v, want %v", i, got, want)
			}
		}
	})
}

// TestLateAnswer: an answer after the end takes the place of silence.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late func(netio.Answer)
		to := sender(func(answer func(netio.Answer)) {
			late = answer
			answer(netio.Answer{Outcome: netio.Silent})
		})
		shot := &volley.Shot{Packet: &netio.Packet{}}
		if err := volley.Fire(t.Context(), to, []*volley.Shot{shot}, 0, time.Second); err != nil {
			t.Fatal(err)
		}
		late(netio.Answer{Outcome: netio.Delivered})
		if got := shot.Answer().Outcome; got != netio.Delivered {
			t.Errorf("after a late answer: %v", got)
		}
	})
}

type sender func(answer func(netio.Answer))

func (s sender) Send(_ context.Context, _ *netio.Packet, _ time.Duration, answer func(netio.Answer)) {
	s(answer)
}
