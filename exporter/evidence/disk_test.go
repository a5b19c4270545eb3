package evidence

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

// writerEnv makes the test binary write into the directory that it names, until it is killed.
const writerEnv = "EVIDENCE_WRITER"

// perTransaction is how many changes the writer puts into each transaction.
const perTransaction = 20

// writeUntilKilled adds changes and deletes old ones as fast as it can, and says on standard output which are on the disk.
func writeUntilKilled(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	d, err := openDisk(dir, slog.New(slog.DiscardHandler))
	fail(err)
	c, err := d.read()
	fail(err)
	next := uint64(0)
	if len(c.ids) > 0 {
		next = c.ids[len(c.ids)-1] + 1
	}
	line := strings.Repeat("evidence ", 20)
	for {
		var ops []op
		for range perTransaction {
			c := change(int(next))
			c.Evidence = []string{line, line, line}
			ops = append(ops, op{bucketChanges, changeKey(next), encodeChange("hq", &c)})
			if next >= 300 {
				ops = append(ops, op{bucketChanges, changeKey(next - 300), nil})
			}
			next++
		}
		ops = append(ops, op{bucketPeers, []byte("hq"), encodePeer(&past{seen: time.Now()})})
		fail(d.apply(ops))
		fmt.Fprintln(os.Stdout, next-1)
	}
}

// TestKilledInTheMiddleOfWrites: whatever a killed process said was on the disk is there, whole and in order.
func TestKilledInTheMiddleOfWrites(t *testing.T) {
	dir := t.TempDir()
	said := -1
	for round := range 6 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatalf("the writer wrote nothing: %s", stderr.String())
		}
		time.AfterFunc(time.Duration(20+rand.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for ok := true; ok; ok = lines.Scan() {
			if said, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait() // it was killed
		h := openHistory(t, dir)
		all := h.Changes("hq")
		first, last := number(t, all[0]), number(t, all[len(all)-1])
		if last < said || last > said+perTransaction || len(all) != last-first+1 || len(all) > 300 {
			t.Errorf("round %d: %d changes from %d to %d, but %d was said to be written", round, len(all), first, last, said)
		}
		closeHistory(t, h)
	}
	if _, err := os.Stat(filepath.Join(dir, fileName+damagedSuffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file was taken for damaged: %v", err)
	}
	t.Logf("%d changes were written", said+1)
}

func number(t *testing.T, c Change) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimPrefix(c.Summary, "change "))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// filled is a directory with a history of some size.
func filled(tb testing.TB, changes int) string {
	tb.Helper()
	dir := tb.TempDir()
	h, err := OpenHistory(dir, quiet())
	if err != nil {
		tb.Fatal(err)
	}
	h.SetBaseline("hq", baseline())
	for i := range changes {
		h.Add("peer-"+strconv.Itoa(i%7), change(i))
	}
	if err := h.Close(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// TestDamagedFile: no damage stops the program; what cannot be read is moved aside, with an error in the log, and a new history works.
func TestDamagedFile(t *testing.T) {
	original, err := os.ReadFile(filepath.Join(filled(t, 400), fileName))
	if err != nil {
		t.Fatal(err)
	}
	v := &verifier{b: original}
	used := int(binary.NativeEndian.Uint64(v.meta()[40:])) * v.pageSize
	random := rand.New(rand.NewPCG(1, 2))
	damages := map[string][]byte{
		"no bbolt file": []byte("hello"), "zeros": make([]byte, 1<<16), "header only": original[:4096], "one page is missing": original[:used-v.pageSize],
		"half": original[:used/2], "not whole pages": original[:used/2+123],
	}
	for i := range 150 {
		b := bytes.Clone(original)
		for range 1 + i%3 {
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		}
		damages[fmt.Sprintf("flipped bits %d", i)] = b
	}
	for i := range 20 {
		b := bytes.Clone(original)
		at := random.IntN(len(b)/4096) * 4096
		for k := range b[at : at+4096] {
			b[at+k] = byte(random.Uint32())
		}
		damages[fmt.Sprintf("overwritten page %d", i)] = b
	}
	moved := 0
	for name, b := range damages {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		h, err := OpenHistory(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		h.SetBaseline("new", baseline())
		h.Add("new", change(1))
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		h = openHistory(t, dir)
		if got := h.Changes("new"); len(got) != 1 {
			t.Errorf("%s: %d new changes", name, len(got))
		}
		closeHistory(t, h)
		aside, err := os.ReadFile(filepath.Join(dir, fileName+damagedSuffix))
		if err == nil {
			moved++
			if !bytes.Equal(aside, b) || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), dir) {
				t.Errorf("%s: %d of %d bytes are moved aside; log %q", name, len(aside), len(b), log.String())
			}
		} else if !strings.HasPrefix(name, "flipped") && !strings.HasPrefix(name, "over") {
			t.Errorf("%s: not moved aside: %v", name, err)
		}
	}
	t.Logf("%d of %d damaged files were moved aside", moved, len(damages))
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir)
	began := time.Now()
	_, err := OpenHistory(dir, quiet())
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), filepath.Join(dir, fileName)) || time.Since(began) > 5*time.Second {
		t.Errorf("the second one: %v", err)
	}
	closeHistory(t, h)
	closeHistory(t, openHistory(t, dir))
	// Somebody else who knows nothing of the lock beside the file.
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := OpenHistory(dir, quiet()); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), filepath.Join(dir, fileName)) {
		t.Errorf("beside another program: %v", err)
	}
}

func TestNewerFormat(t *testing.T) {
	dir := filled(t, 3)
	d, err := openDisk(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.read(); err != nil {
		t.Fatal(err)
	}
	if err := d.apply([]op{{bucketMeta, []byte(formatKey), []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the error leaves nothing locked
		if _, err := OpenHistory(dir, quiet()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), dir) {
			t.Errorf("got %v", err)
		}
	}
}

// tmpfs mounts a file system of a size, which ends with the test.
func tmpfs(t *testing.T, data string) string {
	t.Helper()
	netlab.Need(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, data); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestUnwritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := tmpfs(t, "size=1m")
	if err := unix.Mount("", readOnly, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), readOnly, filepath.Join(readOnly, "below")} {
		if _, err := OpenHistory(dir, quiet()); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		} else {
			t.Log(err)
		}
	}
}

// TestFullDisk: while the disk is full everything is kept in memory, and is written when there is room again.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=1m")
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		h, err := OpenHistory(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ballast := filepath.Join(dir, "ballast")
		_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // until it is full
		for i := range 400 {
			h.Add("hq", change(i))
		}
		time.Sleep(10 * time.Minute)
		if n := h.Failures(); n < 5 || n > 12 || len(h.Changes("hq")) != 400 {
			t.Errorf("%d failures, %d changes", n, len(h.Changes("hq")))
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		closeHistory(t, h)
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "written again") {
			t.Errorf("%d errors in the log: %s", n, log.String())
		}
		h = openHistory(t, dir)
		if got := h.Changes("hq"); len(got) != 400 {
			t.Errorf("%d changes are on the disk", len(got))
		}
		closeHistory(t, h)
	})
}

// TestFileDoesNotGrowWithoutEnd adds four times what is kept, of the kind that takes most room in the file.
func TestFileDoesNotGrowWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := openHistory(t, dir)
		line := strings.Repeat(`"`, maxLine) // twice as long in JSON
		largest := int64(0)
		for i := range 4 * maxHistory / 2500 {
			c := change(i)
			c.Evidence = []string{line, line, line, line, line, line, line}
			h.Add("peer-"+strconv.Itoa(i%1000), c)
			if i%1000 == 0 {
				time.Sleep(5 * time.Second)
				info, err := os.Stat(filepath.Join(dir, fileName))
				if err != nil {
					t.Fatal(err)
				}
				largest = max(largest, info.Size())
			}
		}
		t.Logf("the file grew to %.1f MiB with %.1f MiB in memory, %d failures", float64(largest)/(1<<20), mib(h.size), h.Failures())
		if largest > maxFile || h.Failures() != 0 {
			t.Errorf("%d bytes, %d failures", largest, h.Failures())
		}
		closeHistory(t, h)
		h = openHistory(t, dir)
		if got := len(h.Changes("peer-0")); got < 3 {
			t.Errorf("%d changes are left", got)
		}
		closeHistory(t, h)
	})
}

// TestWritesDoNotWait: a burst that the disk cannot take costs its maker next to nothing, and is on the disk in the end.
func TestWritesDoNotWait(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir)
	slowest := time.Duration(0)
	for i := range 20_000 {
		began := time.Now()
		h.Add("peer-"+strconv.Itoa(i%100), change(i))
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest of 20,000 additions took %s", slowest)
	if slowest > time.Second {
		t.Errorf("an addition took %s", slowest)
	}
	closeHistory(t, h)
	h = openHistory(t, dir)
	defer closeHistory(t, h)
	if got := h.Changes("peer-99"); len(got) != 200 || got[199].Summary != "change 19999" {
		t.Errorf("%d changes are on the disk", len(got))
	}
}

func FuzzStored(f *testing.F) {
	b, c := baseline(), change(1)
	f.Add([]byte("hq"), encodePeer(&past{seen: began(), baseline: &b}))
	f.Add(changeKey(7), encodeChange("hq", &c))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if p, err := decodePeer(key, value); err == nil {
			again, err := decodePeer(key, encodePeer(&past{seen: p.Seen, baseline: p.Baseline}))
			if err != nil || p.Baseline.bytes() != again.Baseline.bytes() {
				t.Errorf("%s became %+v, %v", value, again, err)
			}
		}
		if id, c, err := decodeChange(key, value); err == nil {
			again, c2, err := decodeChange(changeKey(id), encodeChange(c.Peer, &c.Change))
			n, m := numbered{id, c.Change}, numbered{again, c2.Change}
			if err != nil || n.bytes() != m.bytes() || id != again {
				t.Errorf("%s became %+v, %v", value, c2, err)
			}
		}
	})
}

// FuzzVerify: what passes can be opened and read by bbolt. One byte of a good file is replaced, or it is cut, or everything is fuzz.
func FuzzVerify(f *testing.F) {
	good, err := os.ReadFile(filepath.Join(filled(f, 200), fileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, 0, byte(0), len(good))
	f.Add([]byte("junk"), 4, byte(1), 4)
	f.Add([]byte{}, 4096*3+8, byte(9), len(good))
	f.Fuzz(func(t *testing.T, b []byte, at int, value byte, length int) {
		if len(b) == 0 {
			b = bytes.Clone(good)
		}
		if at >= 0 && at < len(b) {
			b[at] = value
		}
		b = b[:min(max(length, 0), len(b))]
		if verify(b) != nil {
			return
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, &bbolt.Options{Timeout: time.Second, NoSync: true})
		if err != nil {
			t.Fatalf("bbolt does not open what passed: %v", err)
		}
		defer db.Close()
		var c contents
		if err := db.Update(c.read); err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, ErrNewer) {
			t.Fatal(err)
		}
	})
}
