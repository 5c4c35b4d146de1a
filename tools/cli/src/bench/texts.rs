//! Workloads for those who bring none: the same on every machine and in every run.

use super::workload::Workload;

/// What makes one: how many documents, and how long they are in characters, about.
struct Shape {
    name: &'static str,
    query: &'static str,
    documents: usize,
    chars: usize,
    /// How far lengths stray from it, in per cent.
    spread: usize,
}

/// One score; search results; passages for a language model, uneven; windows of 512 tokens, full.
const SHAPES: [Shape; 4] = [
    Shape {
        name: "pair",
        query: "When was the old lighthouse rebuilt?",
        documents: 1,
        chars: 235,
        spread: 0,
    },
    Shape {
        name: "snippets50",
        query: "How do rivers carve their valleys?",
        documents: 50,
        chars: 221,
        spread: 45,
    },
    Shape {
        name: "passages100",
        query: "Why did the price of bread rise in the towns while the harvest in the country was good?",
        documents: 100,
        chars: 762,
        spread: 85,
    },
    Shape {
        name: "long16",
        query: "Which of the crafts was the first to form a guild?",
        documents: 16,
        chars: 4900,
        spread: 25,
    },
];

/// The four workloads.
pub fn workloads() -> Vec<Workload> {
    SHAPES.iter().map(Shape::workload).collect()
}

impl Shape {
    fn workload(&self) -> Workload {
        let mut numbers = Numbers(self.documents as u64);
        let docs = (0..self.documents)
            .map(|_| {
                // The mean of two: most lengths are near the middle, a few far off.
                let percent =
                    100 - self.spread + (numbers.below(2 * self.spread) + numbers.below(2 * self.spread)) / 2;
                document(self.chars * percent / 100, &mut numbers)
            })
            .collect();
        Workload { name: self.name.to_owned(), query: self.query.to_owned(), docs }
    }
}

/// Sentences in some order, none twice in a row, until there are enough characters.
fn document(chars: usize, numbers: &mut Numbers) -> String {
    let mut at = numbers.below(SENTENCES.len());
    let mut text = SENTENCES[at].to_owned();
    while text.len() < chars {
        at = (at + 1 + numbers.below(SENTENCES.len() - 1)) % SENTENCES.len();
        text.push(' ');
        text.push_str(SENTENCES[at]);
    }
    text
}

/// Numbers that look random: a linear congruential generator with Knuth's constants.
struct Numbers(u64);

impl Numbers {
    /// From 0 to `n` - 1; 0 where there is nothing to choose from.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize).checked_rem(n).unwrap_or(0)
    }
}

const SENTENCES: [&str; 64] = [
    "The lighthouse on the northern cape was rebuilt in 1874, after the great storm had carried away its upper gallery.",
    "A river does not choose its valley; it deepens what frost and rain have loosened, grain by grain.",
    "Bread cost four pence in the spring and nearly seven by Michaelmas, although the barns were full.",
    "The weavers were the first to write down their rules, and the dyers followed within ten years.",
    "Copper melts at 1,085 degrees Celsius, which a charcoal fire reaches only with a steady draught.",
    "She kept bees, wrote letters to three academies, and never left the county in her life.",
    "In dry summers the lower mill stood still for six weeks, and flour came by barge from the coast.",
    "Glass is neither quite a solid nor a liquid: its atoms are held in the disorder in which they cooled.",
    "The treaty gave both towns the right to fish the estuary, but said nothing of oysters.",
    "Most migrating birds travel at night, steering by stars and by the faint pull of the earth's field.",
    "Nobody could say who had opened the sluice; by morning the meadow was a lake.",
    "The railway reached the market square in 1851, and the last coach to London left it two years later.",
    "Yeast turns sugar into carbon dioxide and alcohol, and the baker wants only the first of the two.",
    "Of the nine bridges, seven were of timber, and none of those survived the ice of that February.",
    "A good map leaves out nearly everything; what it keeps depends on who is going to walk.",
    "The observatory recorded 212 clear nights that year, more than in any of the twenty before.",
    "Salt was taxed at the gate, so salt came in by the roofs, by the river and under the hay.",
    "Her treatise on comets was printed in Leiden and read, it seems, by no one for half a century.",
    "When the clay is too wet the vessel slumps, and when it is too dry the handle cracks from the wall.",
    "The parish register lists forty-one burials in March, against an average of six.",
    "Limestone holds water as a sponge does, and gives it back in springs at the foot of the hill.",
    "An apprentice served for seven years, the last of them for wages, and then had to show a masterpiece.",
    "The moon raises two tides a day because the earth turns beneath two bulges of water, not one.",
    "They sold the wool unwashed to the merchants of Bruges, who paid by the sack and argued by the pound.",
    "It took the surveyors eleven summers to carry the triangles from the sea to the mountains.",
    "The school had two rooms, one stove, and a library of sixty volumes, most of them sermons.",
    "Iron ships needed compasses corrected for their own hulls, a problem that wooden ones had never posed.",
    "A wolf pack is usually a family: two parents, and the young of the last two or three years.",
    "The senate met in the theatre that winter, since the roof of the old hall had fallen in.",
    "Paper was made from rags until there were not enough rags; then someone looked at wasps.",
    "The orchards on the south slope flower a fortnight before those across the valley.",
    "His violin had a crack along the belly which, he insisted, improved the lower strings.",
    "Potatoes were grown first as a curiosity, then for pigs, and only in the hungry years for the table.",
    "Sound travels through water more than four times as fast as through air, so whales converse across oceans.",
    "The harbour silted up so slowly that three generations of pilots each blamed the one before.",
    "Cheap print made the almanac the one book that almost every household owned.",
    "A vaccine teaches the body the shape of an enemy that it has not met yet.",
    "The garrison held out for ninety days on biscuit, rainwater and the hope of a fleet that never sailed.",
    "Wheat prefers heavy soil, rye puts up with sand, and oats will grow where neither does.",
    "Under the floor of the chapel lay an older floor, and beneath that the ashes of a hearth.",
    "The clockmaker charged as much for regulating a watch as for selling one, and was worth it.",
    "Light from the nearest star beyond the sun has been on its way for more than four years.",
    "In the census of 1801 the village had 318 people, 74 houses and, oddly, 90 carts.",
    "The glacier has withdrawn by two kilometres since the first photograph of it was taken.",
    "Merchants' marks on the barrels show that the wine had changed hands at least five times.",
    "He proposed a canal, then a tunnel, then an enormous balloon, and was granted money for none of them.",
    "Spiders that live near street lamps build later in the evening than their cousins in the woods.",
    "The court found that a well belongs to the land above it, however far its water has come.",
    "Steel differs from iron by about one part in a hundred of carbon, and by everything that follows from it.",
    "A fever that returns every third day was known to physicians long before anyone suspected the mosquito.",
    "The dialect of the islands keeps a dual number: one word for we two, another for all of us.",
    "Insurance began with ships, went on to houses, and came last to the people who lived in them.",
    "By law the night watch carried a lantern, a rattle, and no weapon longer than a forearm.",
    "The printing house burned in 1733 with most of the second edition, which is why copies are so rare.",
    "Honey found in tombs three thousand years old is said to have been fit to eat.",
    "Each spring the council set the price of ale, and each summer the brewers ignored it.",
    "The desert was a grassland when the rock paintings were made; there are hippopotamuses among them.",
    "Her proof fits on one page, though it took the reader a decade of mathematics to reach the first line.",
    "The dam supplies light to two cities and has drowned a village whose church still shows in dry years.",
    "Trade winds blow so steadily that a sailing ship could keep the same canvas set for weeks.",
    "Sand from the quarry was too round for mortar, so the masons bought sharper grains from upstream.",
    "The museum owns eleven of the twelve panels; the twelfth is thought to be a table top in Ghent.",
    "Ravens remember a face that has cheated them, and pass the grudge on to others.",
    "After the fire the streets were laid out twice as wide, and thatch was forbidden within the walls.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_what_their_names_say_and_never_change() {
        let workloads = workloads();
        let sizes: Vec<_> = workloads.iter().map(|it| (&*it.name, it.docs.len())).collect();
        assert_eq!(sizes, [("pair", 1), ("snippets50", 50), ("passages100", 100), ("long16", 16)]);
        assert_eq!(workloads, super::workloads());
        let passages = &workloads[2].docs;
        let lengths = || passages.iter().map(String::len);
        assert!(lengths().max() > Some(3 * lengths().min().unwrap()), "uneven lengths");
        let mut different = passages.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), passages.len(), "a passage occurs twice");
    }

    /// The sizes that the command's help names, by the tokenizer inside this program.
    #[test]
    fn workloads_have_about_the_tokens_that_are_promised() {
        let reranker = crate::model::load(&crate::args::ModelArgs::default(), None).unwrap();
        for (workload, expected) in workloads().iter().zip([68, 3400, 19_750, 8192]) {
            let pairs = reranker.tokenize(&workload.query, &workload.docs).unwrap();
            let tokens: usize = pairs.iter().map(|pair| pair.len()).sum();
            assert!(tokens.abs_diff(expected) * 20 <= expected, "{}: {tokens} tokens", workload.name);
        }
    }
}
