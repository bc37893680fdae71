package judge

import (
	"strings"
	"unicode"
)

// Direction is which values of a metric are the better ones.
type Direction int

// The directions. A metric without one is never judged.
const (
	NoDirection Direction = iota
	HigherIsBetter
	LowerIsBetter
)

// Words of metrics' names. By scikit-learn's convention (User Guide, Metrics and scoring)
// what ends in score grows with the model's quality, and what ends in error or loss falls.
var (
	higherWords = words(`acc accuracy auc auroc auprc aucpr ap map mar f1 fbeta precision recall sensitivity
		specificity r2 iou miou jaccard dice bleu rouge meteor chrf score reward return psnr ssim kappa mcc ndcg dcg d2
		hit hits gain correlation roc rougel rougelsum mrr throughput likelihood elbo silhouette`)
	lowerWords = words(`loss losses error err errors mae mse rmse msle rmsle mape smape wape logloss nll
		perplexity ppl wer cer eer ter fid kid lpips brier ece bouldin regret deviance bpc bpb crossentropy
		divergence`)
	// What stands behind a metric's name and says where, when or over what it was taken.
	qualifierWords = words(`score rate mean avg average macro micro weighted samples binary epoch step batch
		train training val valid validation eval test dev best final last top at k ovr ovo total coef
		coefficient`)
)

func words(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

// DirectionOf is the direction that a metric's name says by the field's conventions, or
// none: val_accuracy, train/loss_epoch, neg_mean_squared_error, mAP50.
func DirectionOf(name string) Direction {
	parts := split(name)
	direction := NoDirection
	for i := len(parts) - 1; i >= 0 && direction == NoDirection; i-- {
		switch word := parts[i]; {
		case word == "score" && i > 0 && !known(parts[i-1]):
			direction = HigherIsBetter
		case qualifierWords[word] && i > 0:
		case higherWords[word]:
			direction = HigherIsBetter
		case lowerWords[word], strings.HasSuffix(word, "loss"):
			direction = LowerIsBetter
		default:
			return NoDirection
		}
	}
	for _, word := range parts {
		switch {
		case word == "d2" && direction != NoDirection: // the share that a model explains of an error
			return HigherIsBetter
		case word != "neg" && word != "negative": // which scikit-learn's scorers turn around
		case direction == LowerIsBetter:
			return HigherIsBetter
		case direction == HigherIsBetter:
			return LowerIsBetter
		}
	}
	return direction
}

func known(word string) bool { return higherWords[word] || lowerWords[word] || qualifierWords[word] }

// split cuts a name into lower-case words at what is no letter or digit, where a small
// letter meets a capital one that begins a word, and takes numbers off: mAP50 is map.
func split(name string) []string {
	var parts []string
	between := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for _, piece := range strings.FieldsFunc(name, between) {
		runes, start := []rune(piece), 0
		for i := 1; i+1 < len(runes); i++ {
			if unicode.IsLower(runes[i-1]) && unicode.IsUpper(runes[i]) && unicode.IsLower(runes[i+1]) {
				parts, start = append(parts, string(runes[start:i])), i
			}
		}
		parts = append(parts, string(runes[start:]))
	}
	out := parts[:0]
	for _, p := range parts {
		p = strings.ToLower(p)
		if short := strings.TrimRightFunc(p, unicode.IsDigit); !known(p) {
			p = short
		}
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}
