package search

import "math"

// plateaus returns path MTUs of real links and tunnels, in falling order. The large ones and 2002,
// 1492, 1006 are from RFC 1191, section 7.1; 9000 to 8900 are jumbo frames, bare and inside
// tunnels, 4470 is POS, 1500 Ethernet. Below it: 1492 PPPoE, 1480 IP in IP, 1472 PPPoE and IP in
// IP, 1460 clouds, 1450 VXLAN, 1438 and 1422 ESP, 1412 and 1400 common settings, 1280 IPv6, 576 RFC
// 791; 1100 and 768 halve wide gaps. The list is deliberately not complete: a missing size costs
// one more round, an entry costs every sweep one packet.
func plateaus() []int {
	return []int{
		65535, 32000, 17914, 9216, 9001, 9000, 8996, 8950, 8900, 8166, 4470, 4352, 2002, 1600,
		1500, 1492, 1480, 1472, 1460, 1450, 1438, 1422, 1412, 1400, 1380, 1360, 1320, 1280,
		1100, 1006, 768, 576,
	}
}

// between returns the plateaus strictly inside (low, high), in falling order.
func between(low, high int) []int {
	var in []int
	for _, p := range plateaus() {
		if low < p && p < high {
			in = append(in, p)
		}
	}
	return in
}

const maxBurst = 8

// spread returns the sizes to try inside (low, high), in falling order, the last of them low+1: as
// few as narrow the bracket to one byte in the least number of rounds that bursts of maxBurst need.
func spread(low, high int) []int {
	width := high - low
	rounds := 1
	for reach := maxBurst + 1; reach < width; reach *= maxBurst + 1 {
		rounds++
	}
	parts := int(math.Ceil(math.Pow(float64(width), 1/float64(rounds)) - 1e-9))
	var sizes []int
	for i := parts - 1; i > 0; i-- {
		size := low + width*i/parts
		if size > low+1 && (len(sizes) == 0 || size < sizes[len(sizes)-1]) {
			sizes = append(sizes, size)
		}
	}
	return append(sizes, low+1)
}
