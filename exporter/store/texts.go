package store

// texts number the values of varying labels. A number takes a quarter of the memory of a string, and
// few values differ. The number 0 is the empty text.
type texts struct {
	numbers map[string]uint32
	// all are the texts by number. Generations keep it as it was when they were filled, so it grows,
	// but does not change.
	all []string
}

// spareTexts is how many texts there may be in any case.
const spareTexts = 4096

// limit forgets all texts if there are far more than n: most are then addresses that peers once had.
func (t *texts) limit(n int) {
	if len(t.all) > n+spareTexts || t.all == nil {
		t.numbers, t.all = make(map[string]uint32), []string{""}
	}
}

// number returns the number of a text.
func (t *texts) number(text string) uint32 {
	if text == "" {
		return 0
	}
	n, known := t.numbers[text]
	if !known {
		n = uint32(len(t.all))
		t.numbers[text], t.all = n, append(t.all, valid(text))
	}
	return n
}
