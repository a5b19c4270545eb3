package check

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress: a person sees what is under way and for how long, within the smallest terminal.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := newProgress(&out, 2)
		p.step("hq", "path MTU")
		if out.Len() > 0 {
			t.Fatalf("without a terminal: %q", out.String())
		}
		p.out = &out
		end := p.start()
		p.step("hq", "path MTU")
		time.Sleep(2*repaint + repaint/2)
		synctest.Wait()
		p.done()
		p.step(strings.Repeat("a long name ", 9), "flows")
		end()
		time.Sleep(time.Minute)
		lines := strings.Split(out.String(), clearLine)
		long := "  2 s  1 of 2 peers done; " + strings.Repeat("a long name ", 9)
		want := []string{
			"", "  0 s  0 of 2 peers done; hq: path MTU …", "  1 s  0 of 2 peers done; hq: path MTU …", "  2 s  0 of 2 peers done; hq: path MTU …",
			long[:columns-1] + "…", "",
		}
		if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}
