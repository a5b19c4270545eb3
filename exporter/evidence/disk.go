package evidence

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// The files in the directory of a History.
const (
	fileName = "history.db"
	// lockName is locked as long as the directory is in use: the file itself may be replaced.
	lockName = "history.lock"
	// newSuffix is for a file that is not complete yet, damagedSuffix for the last one that could not be read.
	newSuffix, damagedSuffix = ".new", ".damaged"

	dirMode, fileMode = 0o750, 0o640
	// maxFile is what the file may grow to. What it holds is bounded in memory already, but its pages are not full: it is written anew when
	// it has come half way.
	maxFile = 64 << 20
	// lockWait is how long bbolt may try to lock a file that nobody else should have.
	lockWait = time.Second
)

// ErrInUse is the error of a directory that another process uses.
var ErrInUse = errors.New("in use by another process")

// ErrNewer is the error of a file that a newer version of this program has written.
var ErrNewer = errors.New("written by a newer version of this program")

// disk is the file of a History.
type disk struct {
	path string
	log  *slog.Logger
	lock *os.File
	db   *bbolt.DB // nil after it was found damaged
	// compact is the size of the file when it was last written anew.
	compact int64
}

// openDisk takes hold of a directory and opens the file in it.
func openDisk(dir string, log *slog.Logger) (*disk, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make the directory %s: %w", dir, err)
	}
	d := &disk{path: filepath.Join(dir, fileName), log: log}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	d.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", d.path, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if err := os.Remove(d.path + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		lock.Close()
		return nil, fmt.Errorf("remove what was not completed: %w", err)
	}
	return d, nil
}

// load reads the file into an empty History. If it is damaged it is moved aside, and a new one begun.
func (d *disk) load(h *History) error {
	c, err := d.read()
	if errors.Is(err, errDamaged) {
		aside := d.path + damagedSuffix
		d.log.Error("the history is damaged, it is moved aside and begun anew", "path", d.path, "moved_to", aside, "err", err)
		if err := os.Rename(d.path, aside); err != nil {
			return fmt.Errorf("move a damaged file aside: %w", err)
		}
		c, err = d.read()
	}
	if err != nil {
		return err
	}
	if c.bad > 0 {
		d.log.Error("some values of the history mean nothing, they are left out", "path", d.path, "values", c.bad)
	}
	h.restore(&c)
	return nil
}

// read opens the file, or makes it, and reads all of it.
func (d *disk) read() (contents, error) {
	var c contents
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return c, fmt.Errorf("look at the file: %w", err)
	case info.Size() > 2*maxFile:
		return c, fmt.Errorf("%w: %d bytes", errDamaged, info.Size())
	default:
		b, err := os.ReadFile(d.path)
		if err != nil {
			return c, fmt.Errorf("read the file: %w", err)
		}
		if err := verify(b); err != nil {
			return c, err
		}
	}
	db, err := openBolt(d.path)
	if err != nil {
		return c, err
	}
	if err := guard(func() error { return db.Update(c.read) }); err != nil {
		_ = closeBolt(db, err) // the first error counts
		return c, fmt.Errorf("%s: %w", d.path, err)
	}
	d.db = db
	return c, nil
}

// openBolt opens a file, or makes it.
func openBolt(path string) (*bbolt.DB, error) {
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(path, fileMode, &bbolt.Options{Timeout: lockWait, MaxSize: maxFile, FreelistType: bbolt.FreelistMapType, NoStatistics: true})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// guard makes errors of the panics with which bbolt meets what should not be in a file, and of the faults by which a file ends that became
// shorter than its mapping.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return f()
}

// contents are what was read from a file.
type contents struct {
	peers   map[string]storedPeer
	changes []storedChange
	ids     []uint64
	bad     int
}

// read reads everything, and makes what is missing in a new file.
func (c *contents) read(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists([]byte(bucketMeta))
	if err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	if f := meta.Get([]byte(formatKey)); f != nil && string(f) != format {
		if n, err := strconv.Atoi(string(f)); err != nil || n <= 0 {
			return fmt.Errorf("%w: format %q", errDamaged, f)
		}
		return ErrNewer
	}
	if err := store(tx, []op{{bucketMeta, []byte(formatKey), []byte(format)}}); err != nil {
		return err
	}
	c.peers = make(map[string]storedPeer)
	if err := each(tx, bucketPeers, func(key, value []byte) {
		p, err := decodePeer(key, value)
		if err != nil {
			c.bad++
			return
		}
		c.peers[string(key)] = p
	}); err != nil {
		return err
	}
	return each(tx, bucketChanges, func(key, value []byte) {
		id, change, err := decodeChange(key, value)
		if err != nil {
			c.bad++
			return
		}
		c.ids, c.changes = append(c.ids, id), append(c.changes, change)
	})
}

// each calls f for the values of a bucket, if there is one, in the order of their keys.
func each(tx *bbolt.Tx, bucket string, f func(key, value []byte)) error {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	if err := b.ForEach(func(key, value []byte) error { f(key, value); return nil }); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// store carries out operations.
func store(tx *bbolt.Tx, ops []op) error {
	for _, o := range ops {
		b, err := tx.CreateBucketIfNotExists([]byte(o.bucket))
		if err != nil {
			return fmt.Errorf("bucket: %w", err)
		}
		b.FillPercent = 0.9 // most keys are added at the end
		if o.value == nil {
			err = b.Delete(o.key)
		} else {
			err = b.Put(o.key, o.value)
		}
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}

// apply carries out operations in one transaction, which is on the disk when it returns.
func (d *disk) apply(ops []op) error {
	err := guard(func() error { return d.db.Update(func(tx *bbolt.Tx) error { return store(tx, ops) }) })
	if errors.Is(err, errDamaged) {
		d.db = nil
	}
	return err
}

// rewrite replaces the file by a new one with what the operations make.
func (d *disk) rewrite(ops []op) error {
	path := d.path + newSuffix
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rewrite: %w", err)
	}
	db, err := openBolt(path)
	if err != nil {
		return err
	}
	ops = append([]op{{bucketMeta, []byte(formatKey), []byte(format)}}, ops...)
	err = guard(func() error { return db.Update(func(tx *bbolt.Tx) error { return store(tx, ops) }) })
	if err == nil {
		err = os.Rename(path, d.path)
	}
	if err != nil {
		_ = closeBolt(db, err) // the first error counts
		return fmt.Errorf("rewrite: %w", err)
	}
	old := d.db
	d.db = db
	d.compact = d.size()
	return errors.Join(syncDir(filepath.Dir(d.path)), closeBolt(old, nil))
}

// syncDir puts a renaming onto the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// closeBolt closes a file that was used until a certain error. One that is damaged may hold its own locks for ever, and stays open.
func closeBolt(db *bbolt.DB, after error) error {
	if db == nil || errors.Is(after, errDamaged) {
		return nil
	}
	return guard(db.Close)
}

// wasteful tells whether the file is so large that it is to be written anew, and that this will help.
func (d *disk) wasteful() bool {
	size := d.size()
	return size > maxFile/2 && size > d.compact/2*3
}

func (d *disk) size() int64 {
	info, err := os.Stat(d.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// close closes the file and frees the directory.
func (d *disk) close() error {
	err := closeBolt(d.db, nil)
	return errors.Join(err, d.lock.Close())
}

// restore fills an empty History.
func (h *History) restore(c *contents) {
	for name, s := range c.peers {
		p := h.peer(name, s.Seen)
		p.stored, p.baseline = s.Seen, s.Baseline
		h.size += p.baseline.bytes()
	}
	for i, change := range c.changes {
		p, ok := h.peers[change.Peer]
		if !ok {
			p = h.peer(change.Peer, change.At)
		}
		h.insert(p, numbered{c.ids[i], change.Change})
	}
	h.shrink()
}
