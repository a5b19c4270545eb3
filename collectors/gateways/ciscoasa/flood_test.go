package ciscoasa

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestEndlessAnswers: parsing ends with the deadline of the reading, whatever a device sends.
func TestEndlessAnswers(t *testing.T) {
	const bytes = 31 << 20
	for name, line := range map[string]string{
		"one line of spaces": strings.Repeat(" ", bytes), "one line of colons": strings.Repeat(":", bytes), "one line of hashes": strings.Repeat("#a", bytes/2),
		"short lines": strings.Repeat(" Type    : user\n", bytes/16), "long lines": strings.Repeat(strings.Repeat(": ", 4000)+"\n", bytes/8001),
	} {
		for _, command := range []string{"show crypto isakmp sa detail", "show crypto ipsec sa"} {
			answers := scripted{"show crypto isakmp sa detail": "There are no IKEv1 SAs\n", "show crypto ipsec sa": "There are no ipsec sas\n"}
			answers[command] = line
			d := device{expected: platformASA, platform: platformASA, asked: time.Now(), refused: make(map[string]bool), over: answers}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			ended := make(chan error, 1)
			go func() {
				_, err := d.read(ctx)
				ended <- err
			}()
			<-ctx.Done()
			cancel()
			select {
			case <-ended:
			case <-time.After(20 * time.Second): // on a busy machine; without the bound it takes minutes
				t.Fatalf("%s as the answer to %q: still parsing 20 s after the deadline", name, command)
			}
		}
	}
}

// TestTooManyLines: more lines than any table has are not parsed.
func TestTooManyLines(t *testing.T) {
	d := device{expected: platformASA, platform: platformASA, asked: time.Now(), refused: make(map[string]bool), over: scripted{
		"show crypto isakmp sa detail": strings.Repeat("\n", maxLines+1),
	}}
	if _, err := d.read(t.Context()); err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "more than 2097152 lines") {
		t.Errorf("error %v", err)
	}
}
