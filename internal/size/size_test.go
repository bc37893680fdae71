package size_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/docker/go-units"
	"github.com/stretchr/testify/require"

	"github.com/org/aml-train/internal/size"
	"github.com/org/aml-train/internal/testing/testenv"
)

func TestFormat(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 1024: "1.02 kB", 9994: "9.99 kB", 9995: "10.0 kB", 99_949: "99.9 kB",
		99_951: "100 kB", 999_499: "999 kB", 999_500: "1.00 MB", 3_000_000: "3.00 MB", 300 << 20: "315 MB",
		2 << 30: "2.15 GB", 5e15: "5000 TB",
	} {
		require.Equal(t, want, size.Format(bytes))
	}
	for bytes, want := range map[int64]string{0: "0 B", 1: "1 B", 1000: "1.00 kB", 1024: "1 KiB", 300 << 20: "300 MiB",
		1 << 30: "1 GiB", 1536 << 20: "1536 MiB", 100e9: "100 GB", 2e9: "2.00 GB"} {
		require.Equal(t, want, size.Limit(bytes))
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1048576": 1 << 20, "300MB": 300e6, " 2 GB ": 2e9, "1.5k": 1500,
		"1tb":    1e12,
		"300MiB": 300 << 20, "300 mi": 300 << 20, "12b": 12, "1Kib": 1024} {
		n, err := size.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, n, text)
	}
	for _, text := range []string{"", "MB", "-1MB", "1i", "1iB", "NaN", "inf", "1e30", "1 M B", "12MBB", "1EB", "x"} {
		_, err := size.Parse(text)
		require.ErrorContains(t, err, "is no size; write it as 300MB", text)
	}
}

// TestParseAgainstDocker compares with the units of Docker's own command line: its parser
// of decimal sizes for what says MB, that of memory for what says MiB.
func TestParseAgainstDocker(t *testing.T) {
	for seed := range testenv.Cases(2000) {
		random := rand.New(rand.NewPCG(uint64(seed), 16))
		number := []string{"0", "1", "7", "1.5", "1024", "300"}[random.IntN(6)]
		unit := []string{"", "b", "k", "kb", "M", "mB", "g", "GB", "tb"}[random.IntN(9)]
		got, err := size.Parse(number + unit)
		require.NoError(t, err)
		want, err := units.FromHumanSize(number + unit)
		require.NoError(t, err)
		require.Equal(t, want, got, "%s%s, seed %d", number, unit, seed)
		memory, err := size.ParseMemory(number + unit)
		require.NoError(t, err)
		if letter := strings.TrimRight(unit, "bB"); letter != "" {
			got, err = size.Parse(number + letter + "iB")
			require.NoError(t, err)
			require.Equal(t, memory, got, "%s%siB, seed %d", number, letter, seed)
		}
	}
	for _, text := range []string{"", "x", "-1", "1q", "1e400"} {
		_, err := size.ParseMemory(text)
		require.ErrorContains(t, err, "is no size; write it as 64m")
		require.NotContains(t, err.Error(), "strconv")
	}
}
