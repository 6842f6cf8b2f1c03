// What the page shows before anybody has typed: words alone mislead here, and one document is longer than a pair.

const LOG = `The harbour office has kept its log since 1871. The first pages list the boats by name, their owners and \
what they carried: herring in summer, salt and timber in the cold months. A fire in 1904 took the north shed and two \
of the older volumes, and the clerk of that year rewrote what he could remember. In the thirties the pier was \
lengthened by forty metres, so that coal could be landed at any state of the water, and a lamp was set at its end. \
The log names every keeper of that lamp. During the war the pages are blank but for the weather. Afterwards the hand \
changes, the ink is blue, and the boats have engines. The breakwater was built between 1958 and 1961 with stone from \
the quarry behind the church, and the inner basin was dredged twice. The slipway is newer; it dates from the year in \
which the ferry stopped. Visitors may read the volumes in the reading room on weekday afternoons, with clean hands \
and no pens. The last page of each volume answers the question that visitors put most often: high water comes some \
fifty minutes later each day because the Moon has moved on along its orbit while the Earth turned once, and the Earth \
must turn a little further to catch up with it.`;

export const SAMPLE = {
  query: "Why does high tide come later each day?",
  documents: [
    "Tide is an American brand of laundry detergent, sold since 1946 as powder, liquid and pods.",
    "The tide of fashion has turned: what came in last year goes out this year.",
    LOG,
    "A tide table lists the times and heights of high and low water at a harbour for every day of the year.",
    "High tide comes about 50 minutes later each day, because the Moon moves along its orbit while the Earth turns.",
    "The Crimson Tide is the name of the teams of the University of Alabama.",
    JSON.stringify({ id: "spring", title: "Spring tides", text: "Around new and full moon the Sun and the Moon pull along one line, and the range between high and low water is largest." }),
    "Most coasts see two high tides and two low tides in a lunar day, which is some 50 minutes longer than a solar day.",
    "The average level of the sea has risen by some twenty centimetres since 1900.",
    "Bread rises later in a cold kitchen, because yeast is slower there.",
  ],
};
