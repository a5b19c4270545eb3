// Package spelling finds the word that was meant by one that is not known, for errors that say "did
// you mean": a key of a configuration, a flag or a command. It counts the letters that differ.
package spelling

// longest is the length of a word, in bytes, from which on no mistake is looked for.
const longest = 64

// Nearest returns the known word that is most like a word, the first of several, or "" if none is
// like it: at most two letters differ, and no more than half of them.
func Nearest(word string, known []string) (best string) {
	distance := min(len(word)/2, 2) + 1
	for _, k := range known {
		if n := editDistance(word, k); n < distance {
			best, distance = k, n
		}
	}
	return best
}

// editDistance returns the Levenshtein distance of two words, or a large number if one is long.
func editDistance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
