package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/bits"
	"os"
)

// errDamaged is a file that is not, or not any more, what bbolt has written.
var errDamaged = errors.New("damaged file")

// What a bbolt file is made of (go.etcd.io/bbolt, internal/common). All numbers are in the byte order of the host.
const (
	pageHeader = 16 // id 8, flags 2, count 2, overflow 4
	elemSize   = 16 // of a leaf: flags 4, position 4, key size 4, value size 4; of a branch: position 4, key size 4, page 8
	bucketSize = 16 // root page 8, sequence 8
	metaSize   = 64 // magic 4, version 4, page size 4, flags 4, root bucket 16, freelist 8, high water mark 8, transaction 8, checksum 8
	metaSum    = 56

	boltMagic, boltVersion = 0xED0CDAED, 2

	flagBranch, flagLeaf, flagFreelist = 0x01, 0x02, 0x10
	flagBucket                         = 0x01
)

// verify tells whether bbolt can use a file. bbolt itself trusts what it reads: it panics on a damaged page, follows a page that contains
// itself for ever, and overwrites a page that is wrongly listed as free.
func verify(b []byte) error {
	if len(b) == 0 {
		return nil // bbolt makes a new one of it
	}
	v := &verifier{b: b, used: make(map[uint64]bool)}
	m := v.meta()
	if m == nil {
		return fmt.Errorf("%w: no valid header", errDamaged)
	}
	v.high = binary.NativeEndian.Uint64(m[40:])
	if v.high > uint64(len(b)/v.pageSize) {
		return fmt.Errorf("%w: %d pages are missing", errDamaged, v.high-uint64(len(b)/v.pageSize))
	}
	if err := v.tree(binary.NativeEndian.Uint64(m[16:]), true); err != nil {
		return err
	}
	return v.freelist(binary.NativeEndian.Uint64(m[32:]))
}

// A verifier walks through the pages of a file.
type verifier struct {
	b        []byte
	pageSize int
	high     uint64 // the first page that does not exist
	used     map[uint64]bool
}

// meta finds the newest valid header, and the page size.
func (v *verifier) meta() []byte {
	v.pageSize = os.Getpagesize()
	first := validMeta(v.b)
	if first != nil {
		v.pageSize = int(binary.NativeEndian.Uint32(first[8:]))
	}
	if v.pageSize < 512 || v.pageSize > 1<<16 || bits.OnesCount(uint(v.pageSize)) != 1 || len(v.b) < 2*v.pageSize {
		return nil
	}
	second := validMeta(v.b[v.pageSize:])
	switch {
	case second == nil:
		return first
	case int(binary.NativeEndian.Uint32(second[8:])) != v.pageSize:
		return nil
	case first == nil, binary.NativeEndian.Uint64(second[48:]) > binary.NativeEndian.Uint64(first[48:]):
		return second
	}
	return first
}

// validMeta returns the header in a page, or nil.
func validMeta(page []byte) []byte {
	if len(page) < pageHeader+metaSize {
		return nil
	}
	m := page[pageHeader : pageHeader+metaSize]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:metaSum]) // never fails (hash)
	if binary.NativeEndian.Uint32(m) != boltMagic || binary.NativeEndian.Uint32(m[4:]) != boltVersion || binary.NativeEndian.Uint64(m[metaSum:]) != sum.Sum64() {
		return nil
	}
	return m
}

// page returns a page with those that continue it, its flags, and the number of its elements. Each page may be used once.
func (v *verifier) page(id uint64) (page []byte, flags uint16, count int, err error) {
	if id < 2 || id >= v.high {
		return nil, 0, 0, fmt.Errorf("%w: there is no page %d", errDamaged, id)
	}
	p := v.b[int(id)*v.pageSize:] //nolint:gosec // below the high water mark, which is within the file
	flags, count = binary.NativeEndian.Uint16(p[8:]), int(binary.NativeEndian.Uint16(p[10:]))
	pages := 1 + uint64(binary.NativeEndian.Uint32(p[12:]))
	if binary.NativeEndian.Uint64(p) != id || pages > v.high-id {
		return nil, 0, 0, fmt.Errorf("%w: page %d", errDamaged, id)
	}
	for i := range pages {
		if v.used[id+i] {
			return nil, 0, 0, fmt.Errorf("%w: page %d is used twice", errDamaged, id+i)
		}
		v.used[id+i] = true
	}
	return p[:int(pages)*v.pageSize], flags, count, nil //nolint:gosec // within the file
}

// tree walks through a bucket. Only the root bucket has buckets in it.
func (v *verifier) tree(id uint64, root bool) error {
	page, flags, count, err := v.page(id)
	if err != nil {
		return err
	}
	switch flags {
	case flagLeaf:
		return v.leaf(page, count, root)
	case flagBranch:
	default:
		return fmt.Errorf("%w: page %d is of no kind that belongs here", errDamaged, id)
	}
	if count == 0 || pageHeader+count*elemSize > len(page) {
		return fmt.Errorf("%w: page %d", errDamaged, id)
	}
	for i := range count {
		at := pageHeader + i*elemSize
		e := page[at:]
		if uint64(at)+uint64(binary.NativeEndian.Uint32(e))+uint64(binary.NativeEndian.Uint32(e[4:])) > uint64(len(page)) {
			return fmt.Errorf("%w: page %d", errDamaged, id)
		}
		if err := v.tree(binary.NativeEndian.Uint64(e[8:]), root); err != nil {
			return err
		}
	}
	return nil
}

// leaf looks at the keys and values of a page, or of a small bucket that is itself a value.
func (v *verifier) leaf(page []byte, count int, root bool) error {
	if pageHeader+count*elemSize > len(page) {
		return fmt.Errorf("%w: too many values in a page", errDamaged)
	}
	for i := range count {
		at := pageHeader + i*elemSize
		e := page[at:]
		flags, key, value := binary.NativeEndian.Uint32(e), uint64(binary.NativeEndian.Uint32(e[8:])), uint64(binary.NativeEndian.Uint32(e[12:]))
		begin := uint64(at) + uint64(binary.NativeEndian.Uint32(e[4:])) + key
		if key == 0 || begin+value > uint64(len(page)) || flags&^flagBucket != 0 || (flags == flagBucket) != root {
			return fmt.Errorf("%w: a value", errDamaged)
		}
		if !root {
			continue
		}
		if err := v.bucket(page[begin : begin+value]); err != nil {
			return err
		}
	}
	return nil
}

// bucket walks through the bucket that a value of the root bucket describes.
func (v *verifier) bucket(value []byte) error {
	if len(value) < bucketSize {
		return fmt.Errorf("%w: a bucket", errDamaged)
	}
	if id := binary.NativeEndian.Uint64(value); id != 0 {
		return v.tree(id, false)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return fmt.Errorf("%w: a bucket", errDamaged)
	}
	return v.leaf(inline, int(binary.NativeEndian.Uint16(inline[10:])), false)
}

// manyFree in the place of the number of free pages means that it stands in front of their list.
const manyFree = 0xFFFF

// freelist looks whether what is listed as free is.
func (v *verifier) freelist(id uint64) error {
	page, flags, count, err := v.page(id)
	if err != nil {
		return err
	}
	ids := page[pageHeader:]
	n := uint64(count) //nolint:gosec // a count is not negative
	if count == manyFree {
		n, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if flags != flagFreelist || n > uint64(len(ids)/8) {
		return fmt.Errorf("%w: list of free pages", errDamaged)
	}
	for i := range n {
		free := binary.NativeEndian.Uint64(ids[i*8:])
		if free < 2 || free >= v.high || v.used[free] {
			return fmt.Errorf("%w: page %d is not free", errDamaged, free)
		}
		v.used[free] = true
	}
	return nil
}
